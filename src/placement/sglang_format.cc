// SGLang's --init-expert-location: physical_to_logical_map, a row for every layer of the model.
// Rows of layers that are not MoE layers are there and never used.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "placement/foreign_format.h"
#include "placement/json_fields.h"

namespace steelyard {
namespace {

constexpr const char* kMap = "physical_to_logical_map";
constexpr const char* kLoads = "logical_count";
constexpr int kMostLayers = 65536;

Status CheckIsMap(const Json& file) {
  if (file.is_object() && !file.contains(kMap)) {
    return InvalidArgument(
        file.contains(kLoads)
            ? fmt::format(
                  "{} is loads, not a placement: `steelyard plan --loads` plans one from it",
                  kLoads)
            : fmt::format("neither key \"{}\" nor \"{}\" is there", kMap, kLoads));
  }
  return CheckKeys(file, "", {kMap}, {});
}

Result<SlotRows> ReadRows(const Json& map) {
  if (!map.is_array() || map.empty()) {
    return InvalidArgument(fmt::format("{}: it is not an array of rows", kMap));
  }
  SlotRows rows;
  for (size_t layer = 0; layer < map.size(); ++layer) {
    const std::string place = fmt::format("{}[{}]", kMap, layer);
    STEELYARD_ASSIGN_OR_RETURN(const std::vector<int32_t> row, IntsAt(map[layer], 0, place));
    if (row.empty()) {
      return InvalidArgument(place + ": the layer has no slots");
    }
    rows.num_slots = layer == 0 ? static_cast<int>(row.size()) : rows.num_slots;
    if (row.size() != static_cast<size_t>(rows.num_slots)) {
      return InvalidArgument(
          fmt::format("{}: {} slots, but the layers before have {}: all must have equally many",
                      place, row.size(), rows.num_slots));
    }
    rows.experts.insert(rows.experts.end(), row.begin(), row.end());
  }
  return rows;
}

// Which rows are MoE layers.
Result<std::vector<int>> MoeLayers(const ImportOptions& options, int num_rows) {
  std::vector<int> layers = options.layers;
  if (layers.empty() && options.first_layer < num_rows) {
    layers.resize(num_rows - options.first_layer);
    std::iota(layers.begin(), layers.end(), options.first_layer);
  }
  if (layers.empty() || layers.back() >= num_rows) {
    return InvalidArgument(fmt::format("{}: {} rows, so that there is no layer {}", kMap, num_rows,
                                       layers.empty() ? options.first_layer : layers.back()));
  }
  return layers;
}

}  // namespace

Result<ForeignPlacement> ParseSglang(const Json& file, const ImportOptions& options) {
  STEELYARD_RETURN_IF_ERROR(CheckIsMap(file));
  STEELYARD_ASSIGN_OR_RETURN(const SlotRows all, ReadRows(file[kMap]));
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology, TopologyOfRows(options, all.num_slots));
  STEELYARD_ASSIGN_OR_RETURN(std::vector<int> layers, MoeLayers(options, all.num_rows()));
  SlotRows used{all.num_slots, {}};
  std::vector<int32_t> unused;
  for (int row = 0; row < all.num_rows(); ++row) {
    const bool is_moe = std::binary_search(layers.begin(), layers.end(), row);
    std::vector<int32_t>& into = is_moe ? used.experts : unused;
    into.insert(into.end(), all.row(row).begin(), all.row(row).end());
  }
  const int num_experts = options.num_experts != 0 ? options.num_experts : InferNumExperts(used);
  STEELYARD_ASSIGN_OR_RETURN(
      Placement placement,
      Placement::Create(topology, num_experts, std::move(used.experts), DuplicateRule::kAllow));
  ForeignPlacement foreign{.placement = std::move(placement), .layers = std::move(layers)};
  foreign.unused_rows = std::move(unused);
  return foreign;
}

Result<std::string> FormatSglang(const ForeignPlacement& foreign) {
  const Placement& placement = foreign.placement;
  if (foreign.layers.back() >= kMostLayers) {
    return InvalidArgument(
        fmt::format("{}: layer {} needs a row for every layer before it, more "
                    "than the {} that any model has",
                    kMap, foreign.layers.back(), kMostLayers));
  }
  const auto num_slots = static_cast<size_t>(placement.num_slots());
  const size_t num_given = foreign.unused_rows.size() / num_slots;
  std::vector<int32_t> trivial(num_slots);
  for (size_t slot = 0; slot < num_slots; ++slot) {
    trivial[slot] = static_cast<int32_t>(slot % placement.num_experts());
  }
  std::string text = fmt::format("{{\"{}\":[", kMap);
  size_t num_moe = 0;
  size_t num_unused = 0;
  for (int row = 0; num_moe < foreign.layers.size() || num_unused < num_given; ++row) {
    text += row == 0 ? "\n[" : ",\n[";
    if (num_moe < foreign.layers.size() && foreign.layers[num_moe] == row) {
      AppendList(placement.slot_to_expert(static_cast<int>(num_moe++)), text);
    } else if (num_unused < num_given) {
      AppendList(std::span(foreign.unused_rows).subspan(num_unused++ * num_slots, num_slots), text);
    } else {
      AppendList(trivial, text);
    }
    text += "]";
  }
  text += "\n]}\n";
  return text;
}

}  // namespace steelyard
