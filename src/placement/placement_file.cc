#include "steelyard/placement/placement_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace steelyard {
namespace {

constexpr std::string_view kFormat = "steelyard.placement";
constexpr int kVersion = 1;
constexpr std::array<std::string_view, 9> kKeys = {
    "format",         "version",   "num_layers",     "num_experts", "num_ranks",
    "slots_per_rank", "num_nodes", "slot_to_expert", "shares"};
// Known from the format, but no rank here has slots of its own number, is dead, or is slow.
constexpr std::array<std::string_view, 3> kLaterKeys = {"slots_of_rank", "dead_ranks",
                                                        "rank_speed"};

Status CheckKeys(const Json& file) {
  if (!file.is_object()) {
    return InvalidArgument("a placement is a JSON object");
  }
  for (const auto& [key, value] : file.items()) {
    if (std::find(kLaterKeys.begin(), kLaterKeys.end(), key) != kLaterKeys.end()) {
      if (!value.empty()) {  // null is empty too
        return Unimplemented(fmt::format("\"{}\" is not supported yet", key));
      }
    } else if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return InvalidArgument(fmt::format("key {} is unknown", Json(key).dump()));
    }
  }
  for (const std::string_view key : kKeys) {
    if (!file.contains(key)) {
      return InvalidArgument(fmt::format("key \"{}\" is missing", key));
    }
  }
  return Status::Ok();
}

// An int that fits, at least `low`; `place` says where it stood.
Result<int> IntAt(const Json& value, int low, std::string_view place) {
  constexpr int kMax = std::numeric_limits<int>::max();
  if (!value.is_number_integer()) {
    return InvalidArgument(fmt::format("{}: {} is not an integer", place, value.type_name()));
  }
  const bool too_large = value.is_number_unsigned() ? value.get<uint64_t>() > uint64_t{kMax}
                                                    : value.get<int64_t>() > kMax;
  const bool too_small = !value.is_number_unsigned() && value.get<int64_t>() < low;
  if (too_large || too_small || value.get<int64_t>() < low) {
    return InvalidArgument(
        fmt::format("{}: {} is outside [{}, {}]", place, value.dump(), low, kMax));
  }
  return value.get<int>();
}

Result<int> IntOf(const Json& file, std::string_view key) { return IntAt(file[key], 1, key); }

Status CheckFormat(const Json& file) {
  if (file["format"] != kFormat) {
    return InvalidArgument(fmt::format("format: it is not \"{}\"", kFormat));
  }
  STEELYARD_ASSIGN_OR_RETURN(const int version, IntOf(file, "version"));
  if (version != kVersion) {
    return InvalidArgument(
        fmt::format("version: {} is not {}, the only one known", version, kVersion));
  }
  return Status::Ok();
}

// Calls add(value, place) for each entry of an array [num_layers, num_slots]. Nothing is allocated
// on the word of a size that the rows have not confirmed.
template <typename Add>
Status ForEachEntry(const Json& file, std::string_view key, int num_layers, int num_slots,
                    const Add& add) {
  const Json& rows = file[key];
  if (!rows.is_array() || rows.size() != static_cast<size_t>(num_layers)) {
    return InvalidArgument(
        fmt::format("{}: it is not an array of num_layers = {} rows", key, num_layers));
  }
  for (size_t layer = 0; layer < rows.size(); ++layer) {
    const Json& row = rows[layer];
    if (!row.is_array()) {
      return InvalidArgument(fmt::format("{}[{}]: it is not an array", key, layer));
    }
    if (row.size() != static_cast<size_t>(num_slots)) {
      return InvalidArgument(fmt::format("{}[{}]: {} entries, but num_ranks x slots_per_rank is {}",
                                         key, layer, row.size(), num_slots));
    }
    for (size_t slot = 0; slot < row.size(); ++slot) {
      STEELYARD_RETURN_IF_ERROR(add(row[slot], layer, slot));
    }
  }
  return Status::Ok();
}

Result<std::vector<int32_t>> ReadSlots(const Json& file, int num_layers, int num_slots) {
  std::vector<int32_t> slot_to_expert;
  STEELYARD_RETURN_IF_ERROR(
      ForEachEntry(file, "slot_to_expert", num_layers, num_slots,
                   [&slot_to_expert](const Json& value, size_t layer, size_t slot) -> Status {
                     const std::string place = fmt::format("slot_to_expert[{}][{}]", layer, slot);
                     STEELYARD_ASSIGN_OR_RETURN(const int expert, IntAt(value, 0, place));
                     slot_to_expert.push_back(expert);
                     return Status::Ok();
                   }));
  return slot_to_expert;
}

Result<std::vector<double>> ReadShares(const Json& file, int num_layers, int num_slots) {
  std::vector<double> shares;
  if (file["shares"].is_null()) {
    return shares;
  }
  STEELYARD_RETURN_IF_ERROR(
      ForEachEntry(file, "shares", num_layers, num_slots,
                   [&shares](const Json& value, size_t layer, size_t slot) -> Status {
                     if (!value.is_number()) {
                       return InvalidArgument(fmt::format("shares[{}][{}]: {} is not a number",
                                                          layer, slot, value.type_name()));
                     }
                     shares.push_back(value.get<double>());
                     return Status::Ok();
                   }));
  return shares;
}

Result<Placement> ReadPlacement(const Json& file, DuplicateRule duplicates) {
  STEELYARD_RETURN_IF_ERROR(CheckKeys(file));
  STEELYARD_RETURN_IF_ERROR(CheckFormat(file));
  STEELYARD_ASSIGN_OR_RETURN(const int num_layers, IntOf(file, "num_layers"));
  STEELYARD_ASSIGN_OR_RETURN(const int num_experts, IntOf(file, "num_experts"));
  STEELYARD_ASSIGN_OR_RETURN(const int num_ranks, IntOf(file, "num_ranks"));
  STEELYARD_ASSIGN_OR_RETURN(const int slots_per_rank, IntOf(file, "slots_per_rank"));
  STEELYARD_ASSIGN_OR_RETURN(const int num_nodes, IntOf(file, "num_nodes"));
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology,
                             Topology::Create(num_ranks, slots_per_rank, num_nodes));
  STEELYARD_ASSIGN_OR_RETURN(std::vector<int32_t> slot_to_expert,
                             ReadSlots(file, num_layers, topology.num_slots()));
  STEELYARD_ASSIGN_OR_RETURN(std::vector<double> shares,
                             ReadShares(file, num_layers, topology.num_slots()));
  return Placement::Create(topology, num_experts, std::move(slot_to_expert), duplicates,
                           std::move(shares));
}

// "[\n[..],\n[..]\n]", a row per layer.
template <typename LayerOf>
void AppendRows(int num_layers, const LayerOf& layer_of, std::string& text) {
  text += '[';
  for (int layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
    text += layer_idx == 0 ? "\n[" : ",\n[";
    std::string_view separator;
    for (const auto value : layer_of(layer_idx)) {
      // Of a double the shortest text that reads back as the same bits.
      fmt::format_to(std::back_inserter(text), "{}{}", separator, value);
      separator = ",";
    }
    text += ']';
  }
  text += "\n]";
}

}  // namespace

Result<Placement> ReadPlacementFile(const std::filesystem::path& path, DuplicateRule duplicates) {
  STEELYARD_ASSIGN_OR_RETURN(const Json file, ReadJsonFile(path));
  Result<Placement> placement = ReadPlacement(file, duplicates);
  if (!placement.ok()) {
    return placement.status().WithContext(path.string());
  }
  return placement;
}

Status WritePlacementFile(const std::filesystem::path& path, const Placement& placement) {
  const Topology& topology = placement.topology();
  std::string text = fmt::format(
      "{{\"format\":\"{}\",\"version\":{},\n\"num_layers\":{},\"num_experts\":{},\"num_ranks\":{},"
      "\"slots_per_rank\":{},\"num_nodes\":{},\n\"slot_to_expert\":",
      kFormat, kVersion, placement.num_layers(), placement.num_experts(), topology.num_ranks(),
      topology.slots_per_rank(), topology.num_nodes());
  AppendRows(
      placement.num_layers(), [&placement](int layer) { return placement.slot_to_expert(layer); },
      text);
  text += ",\n\"shares\":";
  if (placement.has_shares()) {
    AppendRows(
        placement.num_layers(), [&placement](int layer) { return placement.shares(layer); }, text);
  } else {
    text += "null";
  }
  text += "}\n";
  return WriteFileAtomically(path, text);
}

}  // namespace steelyard
