// steelyard convert: placements between the formats of several systems, and loads between files.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "base/json.h"
#include "command.h"
#include "convert_traces.h"
#include "output_files.h"
#include "placement_file_options.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

struct ConvertCommand {
  ConvertTraceOptions trace;  // with the paths of both kinds of file
  std::string to;
  int ranks = 0;
  int nodes = 0;
  int layer_updates = -1;  // not given
  bool json = false;
  PlacementFileOptions placement;

  Status Run(const std::string& config) const;
  Status ConvertLoads() const;
  Status ConvertPlacement() const;
  PlacementFormat FormatOfOut(PlacementFormat from) const;
  void CheckLayers(PlacementFormat from, PlacementFormat to) const;
  bool wants_placement() const;
};

bool ConvertCommand::wants_placement() const {
  const std::filesystem::path extension = std::filesystem::path(trace.out).extension();
  return !to.empty() || !placement.from.empty() || extension == ".json" || extension == ".yaml" ||
         extension == ".yml";
}

Status ConvertCommand::ConvertLoads() const {
  if (!wants_placement() &&
      (placement.any_given() || ranks != 0 || nodes != 0 || layer_updates >= 0)) {
    throw UsageError{
        fmt::format("--ranks, --nodes, {} and --layer-updates go with a placement; {} "
                    "is loads",
                    PlacementFileOptions::kNames, trace.in)};
  }
  if (wants_placement()) {
    // Bad loads are bad whatever becomes of them.
    STEELYARD_RETURN_IF_ERROR(ReadLoads(trace.in).status());
    return InvalidArgument(fmt::format(
        "{}: it is loads, not a placement: `steelyard plan --loads {}` plans one from it", trace.in,
        trace.in));
  }
  if (!HasTraceExtension(trace.out)) {
    throw UsageError{fmt::format("OUT {}: traces end in .h5, .npy or .npz", trace.out)};
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::string said, ConvertTrace(trace));
  if (json) {
    const OrderedJson out = {
        {"kind", "loads"}, {"in", trace.in}, {"out", trace.out}, {"written", said}};
    fmt::print("{}\n", out.dump());
  } else {
    fmt::print("{}\n", said);
  }
  return Status::Ok();
}

PlacementFormat ConvertCommand::FormatOfOut(PlacementFormat from) const {
  const std::filesystem::path extension = std::filesystem::path(trace.out).extension();
  if (!to.empty()) {
    return ParsePlacementFormat(to).value();
  }
  if (extension == ".yaml" || extension == ".yml") {
    return PlacementFormat::kTensorrtLlm;
  }
  if (extension == ".json" && from != PlacementFormat::kSteelyard) {
    return PlacementFormat::kSteelyard;
  }
  throw UsageError{
      fmt::format("--to is required: {} does not say which format it is to have", trace.out)};
}

void ConvertCommand::CheckLayers(PlacementFormat from, PlacementFormat target) const {
  const auto numbers_layers = [](PlacementFormat format) {
    return format == PlacementFormat::kSglang || format == PlacementFormat::kTensorrtLlm;
  };
  if ((placement.first_layer != 0 || !placement.moe_layers.empty()) && !numbers_layers(from) &&
      !numbers_layers(target)) {
    throw UsageError{
        fmt::format("--first-layer and --moe-layers: neither {} nor {} numbers layers as the model",
                    PlacementFormatName(from), PlacementFormatName(target))};
  }
  if (layer_updates >= 0 && target != PlacementFormat::kTensorrtLlm) {
    throw UsageError{
        fmt::format("--layer-updates: {} does not say it", PlacementFormatName(target))};
  }
}

Status ConvertCommand::ConvertPlacement() const {
  if (!trace.bins.empty() || !trace.layers.empty() || trace.merge_bins != 1) {
    throw UsageError{"--bins, --layers and --merge-bins go with loads; " + trace.in +
                     " is a placement"};
  }
  STEELYARD_ASSIGN_OR_RETURN(const PlacementFormat from, placement.FormatOf(trace.in));
  const PlacementFormat target = FormatOfOut(from);
  CheckLayers(from, target);
  STEELYARD_ASSIGN_OR_RETURN(ForeignPlacement read, placement.Read(trace.in, from, ranks, nodes));
  if (layer_updates >= 0) {
    read.layer_updates_per_iter = layer_updates;
  }
  STEELYARD_RETURN_IF_ERROR(ExportPlacement(trace.out, target, read));
  if (read.layer_updates_per_iter > 0 && target != PlacementFormat::kTensorrtLlm) {
    fmt::print(stderr,
               "{} has no place for layer_updates_per_iter: {}; --layer-updates {} gives it back\n",
               trace.out, read.layer_updates_per_iter, read.layer_updates_per_iter);
  }
  const Placement& converted = read.placement;
  if (json) {
    const OrderedJson out = {{"kind", "placement"},
                             {"in", trace.in},
                             {"out", trace.out},
                             {"from", PlacementFormatName(from)},
                             {"to", PlacementFormatName(target)},
                             {"num_layers", converted.num_layers()},
                             {"num_experts", converted.num_experts()},
                             {"num_ranks", converted.topology().num_ranks()},
                             {"slots_per_rank", converted.topology().slots_per_rank()},
                             {"layers", read.layers},
                             {"duplicates", converted.CountDuplicates()},
                             {"digest", fmt::format("{:016x}", converted.Digest())}};
    fmt::print("{}\n", out.dump());
  } else {
    fmt::print("{}: a {} placement of {}; {} duplicates on a rank\n", trace.out,
               PlacementFormatName(target), converted.ToString(), converted.CountDuplicates());
  }
  return Status::Ok();
}

Status ConvertCommand::Run(const std::string& config) const {
  STEELYARD_RETURN_IF_ERROR(
      CheckOutputs({{"IN", trace.in}, {"--config", config}}, {{"OUT", trace.out}}));
  return placement.from.empty() && IsTraceFile(trace.in) ? ConvertLoads() : ConvertPlacement();
}

}  // namespace

void AddConvertCommand(CLI::App& app) {
  const auto options = std::make_shared<ConvertCommand>();
  CLI::App* command = AddCommand(
      app, "convert", "Translate a placement to another system's format, or loads to another file",
      [options](const std::string& config) { return options->Run(config); });
  AddPathOption(command, "in", options->trace.in,
                "A placement (steelyard, vllm-ascend, sglang, tensorrt-llm) or loads")
      ->required();
  AddPathOption(command, "out", options->trace.out,
                "The placement in the format of --to, or loads as .h5, .npy or .npz")
      ->required();
  command
      ->add_option("--to", options->to,
                   "Format of OUT; default tensorrt-llm for .yaml, steelyard for .json of "
                   "another system")
      ->check(PlacementFormatText());
  command
      ->add_option("--ranks", options->ranks,
                   "Ranks of the placement, which sglang and tensorrt-llm files do not say")
      ->check(WholeNumber(1, kMostRanks));
  command
      ->add_option("--nodes", options->nodes,
                   "Nodes that the ranks sit on in equal runs, which only steelyard files say; "
                   "default 1")
      ->check(WholeNumber(1, kMostRanks));
  options->placement.AddTo(command);
  command
      ->add_option("--layer-updates", options->layer_updates,
                   "Layers that TensorRT-LLM renews per iteration; default what IN says, or 0")
      ->check(WholeNumber(0, 1 << 20));
  command->add_option("--bins", options->trace.bins, "Bins of loads to keep, FIRST:END")
      ->check(NotEmpty());
  command->add_option("--layers", options->trace.layers, "Layers of loads to keep, FIRST:END")
      ->check(NotEmpty());
  command->add_option("--merge-bins", options->trace.merge_bins, "Bins of loads to add up into one")
      ->check(WholeNumber(1, 1 << 30));
  AddJsonOption(command, &options->json);
  AddExamples(command,
              {"steelyard convert expert_map.json plan.json",
               "steelyard convert placement.json static.yaml --first-layer 3",
               "steelyard convert balancer.yaml expert_map.json --to vllm-ascend --ranks 8",
               "steelyard convert loads.h5 cut.npy --bins 2:10 --merge-bins 4"});
}

}  // namespace steelyard
