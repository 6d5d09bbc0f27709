#include "steelyard/placement/placement_file.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "placement/json_fields.h"

namespace steelyard {
namespace {

constexpr std::string_view kFormat = "steelyard.placement";
constexpr int kVersion = 1;

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

// A list that may be missing, null or empty, which all say nothing.
bool HasList(const Json& file, const char* key) {
  return file.contains(key) && !file[key].is_null() && file[key] != Json::array();
}

Result<Topology> ReadTopology(const Json& file) {
  TopologySpec spec;
  STEELYARD_ASSIGN_OR_RETURN(spec.num_ranks, IntOf(file, "num_ranks"));
  STEELYARD_ASSIGN_OR_RETURN(spec.slots_per_rank, IntOf(file, "slots_per_rank"));
  STEELYARD_ASSIGN_OR_RETURN(spec.num_nodes, IntOf(file, "num_nodes"));
  if (HasList(file, "slots_of_rank")) {
    STEELYARD_ASSIGN_OR_RETURN(spec.slots_of_rank,
                               IntsAt(file["slots_of_rank"], 1, "slots_of_rank"));
  }
  if (HasList(file, "dead_ranks")) {
    STEELYARD_ASSIGN_OR_RETURN(spec.dead_ranks, IntsAt(file["dead_ranks"], 0, "dead_ranks"));
  }
  if (HasList(file, "rank_speed")) {
    STEELYARD_ASSIGN_OR_RETURN(spec.rank_speed, NumbersAt(file["rank_speed"], "rank_speed"));
  }
  return Topology::Create(spec);
}

Result<std::vector<int32_t>> ReadSlots(const Json& file, int num_layers, const Topology& topology) {
  std::vector<int32_t> slot_to_expert;
  STEELYARD_RETURN_IF_ERROR(
      ForEachEntry(file, "slot_to_expert", num_layers, topology.num_slots(),
                   [&](const Json& value, size_t layer, size_t slot) -> Status {
                     const int low = topology.is_live_slot(static_cast<int>(slot)) ? 0 : kNoExpert;
                     STEELYARD_ASSIGN_OR_RETURN(
                         const int expert,
                         IntAt(value, low, fmt::format("slot_to_expert[{}][{}]", layer, slot)));
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
  STEELYARD_RETURN_IF_ERROR(
      CheckKeys(file, "",
                {"format", "version", "num_layers", "num_experts", "num_ranks", "slots_per_rank",
                 "num_nodes", "slot_to_expert", "shares"},
                {"slots_of_rank", "dead_ranks", "rank_speed"}));
  STEELYARD_RETURN_IF_ERROR(CheckFormat(file));
  STEELYARD_ASSIGN_OR_RETURN(const int num_layers, IntOf(file, "num_layers"));
  STEELYARD_ASSIGN_OR_RETURN(const int num_experts, IntOf(file, "num_experts"));
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology, ReadTopology(file));
  STEELYARD_ASSIGN_OR_RETURN(std::vector<int32_t> slot_to_expert,
                             ReadSlots(file, num_layers, topology));
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
    AppendList(layer_of(layer_idx), text);
    text += ']';
  }
  text += "\n]";
}

// Lists that say nothing are left out.
void AppendRankLists(const TopologySpec& ranks, std::string& text) {
  const auto append = [&text](std::string_view key, const auto& list) {
    if (list.empty()) return;
    fmt::format_to(std::back_inserter(text), "\"{}\":[", key);
    AppendList(list, text);
    text += "],";
  };
  append("slots_of_rank", ranks.slots_of_rank);
  append("dead_ranks", ranks.dead_ranks);
  append("rank_speed", ranks.rank_speed);
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
      "\"slots_per_rank\":{},\"num_nodes\":{},",
      kFormat, kVersion, placement.num_layers(), placement.num_experts(), topology.num_ranks(),
      topology.slots_per_rank(), topology.num_nodes());
  AppendRankLists(topology.spec(), text);
  text += "\n\"slot_to_expert\":";
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
