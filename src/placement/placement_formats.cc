#include "steelyard/placement/placement_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "placement/foreign_format.h"
#include "steelyard/placement/placement_file.h"

namespace steelyard {
namespace {

constexpr std::array<std::pair<PlacementFormat, std::string_view>, 4> kFormats = {{
    {PlacementFormat::kSteelyard, "steelyard"},
    {PlacementFormat::kVllmAscend, "vllm-ascend"},
    {PlacementFormat::kSglang, "sglang"},
    {PlacementFormat::kTensorrtLlm, "tensorrt-llm"},
}};

Result<ForeignPlacement> Parse(const std::filesystem::path& path, PlacementFormat format,
                               const ImportOptions& options) {
  if (format == PlacementFormat::kTensorrtLlm) {
    STEELYARD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    Result<ForeignPlacement> read = ParseTensorrtLlm(text, options);
    return read.ok() ? read : read.status().WithContext(path.string());
  }
  STEELYARD_ASSIGN_OR_RETURN(const Json file, ReadJsonFile(path));
  Result<ForeignPlacement> read = format == PlacementFormat::kSglang
                                      ? ParseSglang(file, options)
                                      : ParseVllmAscend(file, options);
  return read.ok() ? read : read.status().WithContext(path.string());
}

// What no foreign format can say.
Status CheckSayable(const Placement& placement, PlacementFormat format) {
  const std::string_view name = PlacementFormatName(format);
  const TopologySpec ranks = placement.topology().spec();
  if (placement.has_shares()) {
    return InvalidArgument(fmt::format("{} cannot say shares: replicas split evenly there", name));
  }
  if (!ranks.dead_ranks.empty()) {
    return InvalidArgument(
        fmt::format("{} cannot say that rank {} is dead", name, ranks.dead_ranks.front()));
  }
  if (!ranks.slots_of_rank.empty()) {
    return InvalidArgument(
        fmt::format("{} cannot say that ranks have unequal numbers of slots", name));
  }
  if (!ranks.rank_speed.empty()) {
    return InvalidArgument(fmt::format("{} cannot say that ranks differ in speed", name));
  }
  return Status::Ok();
}

Status CheckAscend(const std::vector<int>& layers) {
  if (!layers.empty() &&
      (layers.front() < 0 ||
       std::adjacent_find(layers.begin(), layers.end(), std::greater_equal<>()) != layers.end())) {
    return InvalidArgument("the numbers of layers do not ascend from 0 or more");
  }
  return Status::Ok();
}

Status CheckOptions(const ImportOptions& options) {
  STEELYARD_RETURN_IF_ERROR(CheckAscend(options.layers));
  for (const int number :
       {options.num_ranks, options.num_experts, options.num_layers, options.first_layer}) {
    if (number < 0) {
      return InvalidArgument(fmt::format("{} ranks, experts or layers are none", number));
    }
  }
  if (!options.layers.empty() && options.first_layer != 0) {
    return InvalidArgument("either all numbers of layers are given or the first one");
  }
  return Status::Ok();
}

Status CheckLayers(const ForeignPlacement& foreign) {
  if (foreign.layers.size() != static_cast<size_t>(foreign.placement.num_layers())) {
    return InvalidArgument(fmt::format("{} numbers of layers for {} layers", foreign.layers.size(),
                                       foreign.placement.num_layers()));
  }
  return CheckAscend(foreign.layers);
}

// Both systems tell a file from JSON text by its name.
Status CheckName(const std::filesystem::path& path, PlacementFormat format) {
  const bool is_json = format == PlacementFormat::kVllmAscend || format == PlacementFormat::kSglang;
  if (is_json && path.extension() != ".json") {
    return InvalidArgument(
        fmt::format("{} reads only files whose name ends in .json", PlacementFormatName(format)));
  }
  return Status::Ok();
}

Result<std::string> Format(PlacementFormat format, const ForeignPlacement& foreign) {
  return format == PlacementFormat::kVllmAscend ? FormatVllmAscend(foreign)
         : format == PlacementFormat::kSglang   ? FormatSglang(foreign)
                                                : FormatTensorrtLlm(foreign);
}

Status Write(const std::filesystem::path& path, PlacementFormat format,
             const ForeignPlacement& foreign) {
  STEELYARD_RETURN_IF_ERROR(CheckName(path, format));
  STEELYARD_RETURN_IF_ERROR(CheckSayable(foreign.placement, format));
  STEELYARD_RETURN_IF_ERROR(CheckLayers(foreign));
  STEELYARD_ASSIGN_OR_RETURN(const std::string text, Format(format, foreign));
  return WriteFileAtomically(path, text);
}

}  // namespace

std::string_view PlacementFormatName(PlacementFormat format) {
  return kFormats[static_cast<size_t>(format)].second;
}

Result<PlacementFormat> ParsePlacementFormat(std::string_view name) {
  std::string list;
  for (const auto& [format, known] : kFormats) {
    if (known == name) {
      return format;
    }
    list.append(list.empty() ? "" : ", ").append(known);
  }
  return InvalidArgument(fmt::format("format {} is not one of {}", name, list));
}

ForeignPlacement ForeignPlacement::Of(Placement placement, int first_layer) {
  std::vector<int> layers(placement.num_layers());
  std::iota(layers.begin(), layers.end(), first_layer);
  return {.placement = std::move(placement), .layers = std::move(layers)};
}

Result<std::optional<PlacementFormat>> DetectPlacementFormat(const std::filesystem::path& path) {
  std::optional<PlacementFormat> format;
  if (path.extension() == ".yaml" || path.extension() == ".yml") {
    return std::optional(PlacementFormat::kTensorrtLlm);
  }
  if (path.extension() != ".json") {
    return format;
  }
  STEELYARD_ASSIGN_OR_RETURN(const Json file, ReadJsonFile(path));
  const auto has = [&file](const char* key) { return file.is_object() && file.contains(key); };
  if (has("format")) {
    format = PlacementFormat::kSteelyard;
  } else if (has("moe_layer_count") || has("layer_list")) {
    format = PlacementFormat::kVllmAscend;
  } else if (has("physical_to_logical_map")) {
    format = PlacementFormat::kSglang;
  }
  return format;
}

Result<ForeignPlacement> ImportPlacement(const std::filesystem::path& path, PlacementFormat format,
                                         const ImportOptions& options) {
  STEELYARD_RETURN_IF_ERROR(CheckOptions(options).WithContext(path.string()));
  if (format != PlacementFormat::kSteelyard) {
    return Parse(path, format, options);
  }
  STEELYARD_ASSIGN_OR_RETURN(Placement placement, ReadPlacementFile(path, DuplicateRule::kAllow));
  Result<ForeignPlacement> foreign = WithLayers(std::move(placement), options);
  return foreign.ok() ? foreign : foreign.status().WithContext(path.string());
}

Status ExportPlacement(const std::filesystem::path& path, PlacementFormat format,
                       const ForeignPlacement& foreign) {
  if (format == PlacementFormat::kSteelyard) {
    return WritePlacementFile(path, foreign.placement);
  }
  return Write(path, format, foreign).WithContext(path.string());
}

Result<ForeignPlacement> WithLayers(Placement placement, const ImportOptions& options) {
  ForeignPlacement foreign = ForeignPlacement::Of(std::move(placement), options.first_layer);
  if (!options.layers.empty()) {
    foreign.layers = options.layers;
    STEELYARD_RETURN_IF_ERROR(CheckLayers(foreign));
  }
  return foreign;
}

int InferNumExperts(const SlotRows& rows) {
  int largest_id = 0;
  int num_experts = 0;
  std::vector<int32_t> ids;
  for (int row = 0; row < rows.num_rows(); ++row) {
    ids.assign(rows.row(row).begin(), rows.row(row).end());
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    largest_id = std::max(largest_id, ids.back());
    if (ids.front() == 0 && ids.back() == static_cast<int>(ids.size()) - 1) {
      num_experts = std::max(num_experts, static_cast<int>(ids.size()));
    }
  }
  // One more than the largest id there is cannot be counted, and has no slots anyway.
  constexpr int kMost = std::numeric_limits<int>::max();
  return num_experts > 0 ? num_experts : std::min(largest_id, kMost - 1) + 1;
}

Result<Topology> TopologyOfRows(const ImportOptions& options, int num_slots) {
  if (options.num_ranks < 1) {
    return InvalidArgument("the file does not say how many ranks there are");
  }
  if (num_slots % options.num_ranks != 0) {
    return InvalidArgument(
        fmt::format("{} slots cannot be dealt evenly to {} ranks", num_slots, options.num_ranks));
  }
  return Topology::Create(options.num_ranks, num_slots / options.num_ranks, options.num_nodes);
}

}  // namespace steelyard
