// steelyard inspect: what a placement or a file of loads is, whether it is valid, and how level.
#include <fmt/format.h>

#include <memory>

#include "base/json.h"
#include "command.h"
#include "convert_traces.h"
#include "inspect_loads.h"
#include "observe/picture.h"
#include "placement_file_options.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

struct InspectCommand {
  std::string file;
  std::string loads;
  bool json = false;
  TopologyOptions topology;
  PlacementFileOptions placement_file;

  Status Run() const;
  Status InspectPlacement() const;
  Result<Placement> ReadPlacement(PlacementFormat format) const;
};

LoadWindow UniformLoads(const Placement& placement) {
  const LoadShape shape{1, 1, placement.num_layers(), placement.num_experts()};
  return *LoadWindow::Create(shape, std::vector<double>(shape.num_counts(), 1.0));
}

Result<Placement> InspectCommand::ReadPlacement(PlacementFormat format) const {
  if (format == PlacementFormat::kSteelyard && topology.any_given()) {
    throw UsageError{"--ranks, --slots, --nodes, --speeds and --dead go with loads; " + file +
                     " is a placement that says them itself"};
  }
  if (!topology.slots.empty() || !topology.speeds.empty() || !topology.dead.empty()) {
    throw UsageError{"--slots, --speeds and --dead go with loads; " + file + " is a placement"};
  }
  STEELYARD_ASSIGN_OR_RETURN(ForeignPlacement read,
                             placement_file.Read(file, format, topology.ranks, topology.nodes));
  return std::move(read.placement);
}

Status InspectCommand::InspectPlacement() const {
  STEELYARD_ASSIGN_OR_RETURN(const PlacementFormat format, placement_file.FormatOf(file));
  STEELYARD_ASSIGN_OR_RETURN(const Placement placement, ReadPlacement(format));
  LoadWindow window = UniformLoads(placement);
  if (!loads.empty()) {
    STEELYARD_ASSIGN_OR_RETURN(window, ReadLoads(loads));
    if (window.shape().num_layers != placement.num_layers() ||
        window.shape().num_experts != placement.num_experts()) {
      return InvalidArgument(fmt::format("{}: {}, but {} is {}", loads, window.ToString(), file,
                                         placement.ToString()));
    }
  }
  const LoadLevel level = MeasureLevel(placement, window);
  const Topology& shape = placement.topology();
  if (json) {
    const TopologySpec ranks = shape.spec();
    OrderedJson out = {{"kind", "placement"},
                       {"format", PlacementFormatName(format)},
                       {"valid", true},
                       {"num_layers", placement.num_layers()},
                       {"num_experts", placement.num_experts()},
                       {"num_ranks", shape.num_ranks()},
                       {"slots_per_rank", shape.slots_per_rank()},
                       {"num_nodes", shape.num_nodes()},
                       {"slots_of_rank", ranks.slots_of_rank},
                       {"dead_ranks", ranks.dead_ranks},
                       {"rank_speed", ranks.rank_speed},
                       {"duplicates", placement.CountDuplicates()},
                       {"digest", fmt::format("{:016x}", placement.Digest())},
                       {"imbalance", level.imbalance},
                       {"lower_bound", level.lower_bound},
                       {"rank_loads", level.rank_loads}};
    fmt::print("{}\n", out.dump());
    return Status::Ok();
  }
  fmt::print("{}: a {} placement of {}\n", file, PlacementFormatName(format), placement.ToString());
  fmt::print("valid: every expert has a slot; {} duplicates on a rank; digest {:016x}\n",
             placement.CountDuplicates(), placement.Digest());
  fmt::print("imbalance {:.4f} (mean over layers, lower bound {:.4f}) under {}\n", level.imbalance,
             level.lower_bound, loads.empty() ? "equal loads of all experts" : loads);
  fmt::print("{}", RankLoadPicture(level.rank_loads));
  if (!loads.empty()) {
    fmt::print("{}", RankHeatMap(level));
  }
  return Status::Ok();
}

bool IsPlacementName(const std::string& file) {
  return file.ends_with(".yaml") || file.ends_with(".yml") ||
         (file.ends_with(".json") && !IsTraceFile(file));
}

Status InspectCommand::Run() const {
  if (!placement_file.from.empty() || IsPlacementName(file)) {
    return InspectPlacement();
  }
  if (placement_file.any_given()) {
    throw UsageError{
        fmt::format("{} go with a placement; {} is loads", PlacementFileOptions::kNames, file)};
  }
  if (!loads.empty()) {
    throw UsageError{"--loads goes with a placement; " + file + " is loads itself"};
  }
  return InspectLoads(file, topology, json);
}

}  // namespace

void AddInspectCommand(CLI::App& app) {
  const auto options = std::make_shared<InspectCommand>();
  CLI::App* command =
      AddCommand(app, "inspect",
                 "Say what a placement or a file of loads is, whether it is valid, and how level",
                 [options](const std::string&) { return options->Run(); });
  AddPathOption(command, "file", options->file,
                "A placement (steelyard, vllm-ascend, sglang, tensorrt-llm), or loads as `plan` "
                "takes them")
      ->required();
  AddPathOption(command, "--loads", options->loads,
                "Judge a placement by these loads instead of equal ones");
  options->topology.AddTo(command);
  options->placement_file.AddTo(command);
  AddJsonOption(command, &options->json);
  AddExamples(command, {"steelyard inspect loads.npy --ranks 8",
                        "steelyard inspect placement.json --loads loads.npy",
                        "steelyard inspect balancer.yaml --ranks 8 --json"});
}

}  // namespace steelyard
