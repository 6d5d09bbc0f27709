// vLLM-Ascend's expert_map.json: MoE layers and ranks by position, whatever layer_id and device_id
// say, as its reader takes them.
#include <fmt/format.h>

#include <iterator>
#include <set>
#include <utility>

#include "placement/foreign_format.h"
#include "placement/json_fields.h"

namespace steelyard {
namespace {

Status AddDevice(const Json& device, const std::string& place, int& slots_per_rank,
                 std::vector<int32_t>& experts) {
  STEELYARD_RETURN_IF_ERROR(CheckKeys(device, place, {"device_id", "device_expert"}, {}));
  STEELYARD_RETURN_IF_ERROR(IntAt(device["device_id"], 0, place + ".device_id").status());
  const std::string list_place = place + ".device_expert";
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                             IntsAt(device["device_expert"], 0, list_place));
  if (ids.empty()) {
    return InvalidArgument(list_place + ": the rank has no slots");
  }
  slots_per_rank = slots_per_rank == 0 ? static_cast<int>(ids.size()) : slots_per_rank;
  if (ids.size() != static_cast<size_t>(slots_per_rank)) {
    return InvalidArgument(
        fmt::format("{}: {} slots, but the ranks before it have {}: all must have equally many",
                    list_place, ids.size(), slots_per_rank));
  }
  experts.insert(experts.end(), ids.begin(), ids.end());
  return Status::Ok();
}

Status AddLayer(const Json& layer, const std::string& place, int& num_ranks, int& slots_per_rank,
                std::vector<int32_t>& experts) {
  STEELYARD_RETURN_IF_ERROR(
      CheckKeys(layer, place, {"layer_id", "device_count", "device_list"}, {}));
  STEELYARD_RETURN_IF_ERROR(IntAt(layer["layer_id"], 0, place + ".layer_id").status());
  STEELYARD_ASSIGN_OR_RETURN(const int device_count,
                             IntAt(layer["device_count"], 1, place + ".device_count"));
  const Json& devices = layer["device_list"];
  if (!devices.is_array() || devices.size() != static_cast<size_t>(device_count)) {
    return InvalidArgument(fmt::format("{}.device_list: it is not an array of device_count = {}",
                                       place, device_count));
  }
  num_ranks = num_ranks == 0 ? device_count : num_ranks;
  if (device_count != num_ranks) {
    return InvalidArgument(fmt::format("{}.device_count: {} ranks, but the layers before have {}",
                                       place, device_count, num_ranks));
  }
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    STEELYARD_RETURN_IF_ERROR(AddDevice(
        devices[rank], fmt::format("{}.device_list[{}]", place, rank), slots_per_rank, experts));
  }
  return Status::Ok();
}

}  // namespace

Result<ForeignPlacement> ParseVllmAscend(const Json& file, const ImportOptions& options) {
  STEELYARD_RETURN_IF_ERROR(CheckKeys(file, "", {"moe_layer_count", "layer_list"}, {}));
  STEELYARD_ASSIGN_OR_RETURN(const int num_layers,
                             IntAt(file["moe_layer_count"], 1, "moe_layer_count"));
  const Json& layers = file["layer_list"];
  if (!layers.is_array() || layers.size() != static_cast<size_t>(num_layers)) {
    return InvalidArgument(fmt::format("moe_layer_count: {}, but layer_list has {} layers",
                                       num_layers, layers.is_array() ? layers.size() : 0));
  }
  int num_ranks = 0;
  int slots_per_rank = 0;
  SlotRows rows;
  for (int layer = 0; layer < num_layers; ++layer) {
    STEELYARD_RETURN_IF_ERROR(AddLayer(layers[layer], fmt::format("layer_list[{}]", layer),
                                       num_ranks, slots_per_rank, rows.experts));
  }
  if (options.num_ranks != 0 && options.num_ranks != num_ranks) {
    return InvalidArgument(
        fmt::format("it is of {} ranks, not of {}", num_ranks, options.num_ranks));
  }
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology,
                             Topology::Create(num_ranks, slots_per_rank, options.num_nodes));
  rows.num_slots = topology.num_slots();
  const int num_experts = options.num_experts != 0 ? options.num_experts : InferNumExperts(rows);
  STEELYARD_ASSIGN_OR_RETURN(
      Placement placement,
      Placement::Create(topology, num_experts, std::move(rows.experts), DuplicateRule::kRefuse));
  return WithLayers(std::move(placement), options);
}

Result<std::string> FormatVllmAscend(const ForeignPlacement& foreign) {
  const Placement& placement = foreign.placement;
  const Topology& topology = placement.topology();
  if (placement.CountDuplicates() > 0) {
    return InvalidArgument("vllm-ascend cannot have a rank that holds an expert twice");
  }
  std::string text =
      fmt::format("{{\"moe_layer_count\":{},\"layer_list\":[", placement.num_layers());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    fmt::format_to(std::back_inserter(text),
                   "{}\n{{\"layer_id\":{},\"device_count\":{},\"device_list\":[",
                   layer == 0 ? "" : ",", layer, topology.num_ranks());
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      fmt::format_to(std::back_inserter(text), "{}\n{{\"device_id\":{},\"device_expert\":[",
                     rank == 0 ? "" : ",", rank);
      AppendList(placement.slot_to_expert(layer).subspan(topology.first_slot_of_rank(rank),
                                                         topology.slots_per_rank()),
                 text);
      text += "]}";
    }
    text += "]}";
  }
  text += "]}\n";
  return text;
}

}  // namespace steelyard
