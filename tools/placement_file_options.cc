#include "placement_file_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <system_error>
#include <vector>

#include "command.h"
#include "number_text.h"

namespace steelyard {
namespace {

constexpr int kMost = 1 << 20;

CLI::Validator AscendingLayers() {
  return {[](std::string& text) {
            std::vector<int> layers;
            const bool ascends = ParseNumbers(text, &layers) && layers.front() >= 0 &&
                                 std::adjacent_find(layers.begin(), layers.end(),
                                                    std::greater_equal<>()) == layers.end();
            return ascends ? std::string()
                           : fmt::format("{}: not ascending numbers of layers, with commas between",
                                         text);
          },
          ""};
}

// Options that only say what a file does not.
void CheckUse(const PlacementFileOptions& options, PlacementFormat format, int ranks, int nodes) {
  const std::string_view name = PlacementFormatName(format);
  const bool is_ours = format == PlacementFormat::kSteelyard;
  if (is_ours && (ranks != 0 || nodes != 0 || options.experts != 0)) {
    throw UsageError{
        fmt::format("--ranks, --nodes and --experts: a {} file says them itself", name)};
  }
  if (options.num_layers != 0 && format != PlacementFormat::kTensorrtLlm) {
    throw UsageError{fmt::format("--num-layers: a {} file says it itself", name)};
  }
  if (options.first_layer != 0 && !options.moe_layers.empty()) {
    throw UsageError{"--first-layer and --moe-layers say the same: give one of them"};
  }
  const bool says_ranks = is_ours || format == PlacementFormat::kVllmAscend;
  if (!says_ranks && ranks == 0) {
    throw UsageError{fmt::format("--ranks is required: a {} file does not say it", name)};
  }
}

}  // namespace

CLI::Validator PlacementFormatText() {
  return {[](std::string& text) {
            const Result<PlacementFormat> format = ParsePlacementFormat(text);
            return format.ok() ? std::string() : format.status().message();
          },
          ""};
}

void PlacementFileOptions::AddTo(CLI::App* command) {
  command
      ->add_option("--from", from,
                   "Format of a placement: steelyard, vllm-ascend, sglang or tensorrt-llm; "
                   "default what the file looks like")
      ->check(PlacementFormatText());
  command
      ->add_option("--experts", experts,
                   "Experts of a layer; default as many as the file has (not steelyard)")
      ->check(WholeNumber(1, kMost));
  command
      ->add_option("--num-layers", num_layers,
                   "MoE layers, where a tensorrt-llm file assigns nothing")
      ->check(WholeNumber(1, kMost));
  command
      ->add_option("--first-layer", first_layer,
                   "Layer of the model that is the first MoE layer; all after it are (sglang, "
                   "tensorrt-llm)")
      ->check(WholeNumber(0, kMost));
  command
      ->add_option("--moe-layers", moe_layers,
                   "Layers of the model that are MoE layers (1,3,5), where they do not follow each "
                   "other")
      ->check(AscendingLayers())
      ->join();
}

bool PlacementFileOptions::any_given() const {
  return !from.empty() || experts != 0 || num_layers != 0 || first_layer != 0 ||
         !moe_layers.empty();
}

Result<PlacementFormat> PlacementFileOptions::FormatOf(const std::string& path) const {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return NotFound(fmt::format("{}: no such file", path));
  }
  if (std::filesystem::is_directory(path, error)) {
    return InvalidArgument(fmt::format("{}: is a folder, not a file", path));
  }
  if (!from.empty()) {
    return ParsePlacementFormat(from);
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<PlacementFormat> format,
                             DetectPlacementFormat(path));
  if (!format.has_value()) {
    return InvalidArgument(
        fmt::format("{}: no key of a placement is there (\"format\", \"moe_layer_count\", "
                    "\"physical_to_logical_map\", or a .yaml file), nor \"logical_count\" of loads",
                    path));
  }
  return *format;
}

Result<ForeignPlacement> PlacementFileOptions::Read(const std::string& path, PlacementFormat format,
                                                    int ranks, int nodes) const {
  CheckUse(*this, format, ranks, nodes);
  ImportOptions options;
  options.num_ranks = ranks;
  options.num_nodes = std::max(nodes, 1);
  options.num_experts = experts;
  options.num_layers = num_layers;
  options.first_layer = first_layer;
  if (!moe_layers.empty()) {
    ParseNumbers(moe_layers, &options.layers);
  }
  return ImportPlacement(path, format, options);
}

}  // namespace steelyard
