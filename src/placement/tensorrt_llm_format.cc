// TensorRT-LLM's moe_load_balancer.yaml: the slots of every MoE layer, by the number that the layer
// has in the model.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include "placement/foreign_format.h"
#include "placement/json_fields.h"

namespace steelyard {
namespace {

constexpr const char* kAssignments = "initial_global_assignments";
constexpr const char* kUpdates = "layer_updates_per_iter";
constexpr const char* kSlots = "num_slots";

// Slots of all layers of a default layout, which a short file can ask for; no model is near.
constexpr int64_t kMostDefaultSlots = int64_t{1} << 26;

// On one line and in UTF-8, whatever was in the file.
std::string Quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What yaml-cpp says ends in the bytes of the file that it stumbled over.
std::string OneLine(std::string message) {
  for (char& c : message) {
    if (c < ' ' || c > '~') c = '?';
  }
  return message;
}

// A plain scalar (not a quoted one) that is a decimal int of at least `low`.
Result<int> IntAt(const YAML::Node& node, int low, const std::string& place) {
  constexpr int kMax = std::numeric_limits<int>::max();
  if (!node.IsScalar() || node.Tag() != "?") {
    return InvalidArgument(place + ": it is not an integer");
  }
  const std::string& text = node.Scalar();
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::invalid_argument || end != text.data() + text.size()) {
    return InvalidArgument(fmt::format("{}: {} is not an integer", place, Quoted(text)));
  }
  if (error != std::errc() || value < low) {
    return InvalidArgument(fmt::format("{}: {} is outside [{}, {}]", place, text, low, kMax));
  }
  return value;
}

// YAML::Load() passes over what comes after the first document, and YAML::LoadAll() never comes
// back from a stray comma.
Status CheckOneDocument(std::string_view text) {
  bool has_content = false;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (line.starts_with("---") || line.starts_with("...")) {
      if (has_content) {
        return InvalidArgument(
            fmt::format("line {}: it must be one YAML document",
                        1 + std::count(text.begin(), text.begin() + begin, '\n')));
      }
    } else {
      has_content = has_content || !(line.empty() || line[0] == '#' || line[0] == '%');
    }
    begin = end + 1;
  }
  return Status::Ok();
}

// The values of a map whose keys are all among the three that are known.
Result<std::map<std::string, YAML::Node>> ReadKeys(const YAML::Node& file) {
  if (!file.IsMap()) {
    return InvalidArgument("it is not a YAML map");
  }
  std::map<std::string, YAML::Node> values;
  for (const auto& entry : file) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (key != kAssignments && key != kUpdates && key != kSlots) {
      return InvalidArgument(fmt::format("key {} is unknown", Quoted(key)));
    }
    if (!values.emplace(key, entry.second).second) {
      return InvalidArgument(fmt::format("key \"{}\" is there twice", key));
    }
  }
  if (values.count(kSlots) == 0) {
    return InvalidArgument(fmt::format("key \"{}\" is missing", kSlots));
  }
  return values;
}

// Model layer -> the experts of its slots.
Result<std::map<int, std::vector<int32_t>>> ReadAssignments(const YAML::Node& node, int num_slots) {
  if (!node.IsMap() || node.size() == 0) {
    return InvalidArgument(fmt::format("{}: it is not a map of layers", kAssignments));
  }
  std::map<int, std::vector<int32_t>> layers;
  for (const auto& entry : node) {
    STEELYARD_ASSIGN_OR_RETURN(const int layer, IntAt(entry.first, 0, kAssignments));
    const std::string place = fmt::format("{}[{}]", kAssignments, layer);
    if (!entry.second.IsSequence() || entry.second.size() != static_cast<size_t>(num_slots)) {
      return InvalidArgument(entry.second.IsSequence()
                                 ? fmt::format("{}: {} slots, but {} is {}", place,
                                               entry.second.size(), kSlots, num_slots)
                                 : place + ": it is not a list");
    }
    std::vector<int32_t> experts;
    for (const auto& expert : entry.second) {
      STEELYARD_ASSIGN_OR_RETURN(const int id,
                                 IntAt(expert, 0, fmt::format("{}[{}]", place, experts.size())));
      experts.push_back(id);
    }
    if (!layers.emplace(layer, std::move(experts)).second) {
      return InvalidArgument(place + ": the layer is there twice");
    }
  }
  return layers;
}

// Nobody says how many experts there are. A layer that lacks the last one looks whole, so that a
// number which ranks cannot share evenly is not believed.
Result<int> NumExperts(const SlotRows& rows, const ImportOptions& options) {
  if (options.num_experts != 0) {
    return options.num_experts;
  }
  const int num_experts = InferNumExperts(rows);
  if (num_experts % options.num_ranks != 0) {
    return InvalidArgument(fmt::format(
        "{}: ids go up to {}, and {} experts are not the same number for each of {} ranks: an "
        "expert is missing, unless the number of experts is given",
        kAssignments, num_experts - 1, num_experts, options.num_ranks));
  }
  return num_experts;
}

Status CheckAsked(const ImportOptions& options, const std::vector<int>& layers) {
  for (const int asked : options.layers) {
    if (!std::binary_search(layers.begin(), layers.end(), asked)) {
      return InvalidArgument(fmt::format("{}: layer {} is missing", kAssignments, asked));
    }
  }
  for (const int found : layers) {
    const bool is_asked = options.layers.empty() ? found >= options.first_layer
                                                 : std::binary_search(options.layers.begin(),
                                                                      options.layers.end(), found);
    if (!is_asked) {
      return InvalidArgument(fmt::format("{}[{}]: it is not one of the layers that are MoE layers",
                                         kAssignments, found));
    }
  }
  return Status::Ok();
}

Result<ForeignPlacement> Assigned(const YAML::Node& node, const Topology& topology,
                                  const ImportOptions& options) {
  using Layers = std::map<int, std::vector<int32_t>>;
  STEELYARD_ASSIGN_OR_RETURN(const Layers assigned, ReadAssignments(node, topology.num_slots()));
  std::vector<int> layers;
  SlotRows rows{topology.num_slots(), {}};
  for (const auto& [layer, experts] : assigned) {
    layers.push_back(layer);
    rows.experts.insert(rows.experts.end(), experts.begin(), experts.end());
  }
  STEELYARD_RETURN_IF_ERROR(CheckAsked(options, layers));
  STEELYARD_ASSIGN_OR_RETURN(const int num_experts, NumExperts(rows, options));
  STEELYARD_ASSIGN_OR_RETURN(
      Placement placement,
      Placement::Create(topology, num_experts, std::move(rows.experts), DuplicateRule::kAllow));
  return ForeignPlacement{.placement = std::move(placement), .layers = std::move(layers)};
}

Result<ForeignPlacement> Default(const Topology& topology, const ImportOptions& options) {
  const int num_layers =
      options.layers.empty() ? options.num_layers : static_cast<int>(options.layers.size());
  if (options.num_experts == 0 || num_layers == 0) {
    return InvalidArgument(
        fmt::format("without {} the file says neither how many experts nor how many layers there "
                    "are",
                    kAssignments));
  }
  // Nothing is allocated on the word of a number in the file.
  if (topology.slots_per_rank() > options.num_experts) {
    return InvalidArgument(fmt::format("{}: {} slots on a rank are more than {} experts", kSlots,
                                       topology.slots_per_rank(), options.num_experts));
  }
  if (int64_t{topology.num_slots()} * num_layers > kMostDefaultSlots) {
    return InvalidArgument(fmt::format("{}: {} slots of {} layers are more than {} in all", kSlots,
                                       topology.num_slots(), num_layers, kMostDefaultSlots));
  }
  STEELYARD_ASSIGN_OR_RETURN(
      Placement placement, TensorrtLlmDefaultPlacement(topology, num_layers, options.num_experts));
  STEELYARD_ASSIGN_OR_RETURN(ForeignPlacement foreign, WithLayers(std::move(placement), options));
  foreign.is_assigned = false;
  return foreign;
}

Result<ForeignPlacement> Parse(const YAML::Node& file, const ImportOptions& options) {
  using Values = std::map<std::string, YAML::Node>;
  STEELYARD_ASSIGN_OR_RETURN(const Values values, ReadKeys(file));
  STEELYARD_ASSIGN_OR_RETURN(const int num_slots, IntAt(values.at(kSlots), 1, kSlots));
  int updates = 0;
  if (values.count(kUpdates) != 0) {
    STEELYARD_ASSIGN_OR_RETURN(updates, IntAt(values.at(kUpdates), 0, kUpdates));
  }
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology, TopologyOfRows(options, num_slots));
  Result<ForeignPlacement> foreign = values.count(kAssignments) != 0
                                         ? Assigned(values.at(kAssignments), topology, options)
                                         : Default(topology, options);
  if (foreign.ok()) {
    foreign->layer_updates_per_iter = updates;
  }
  return foreign;
}

}  // namespace

Result<Placement> TensorrtLlmDefaultPlacement(const Topology& topology, int num_layers,
                                              int num_experts) {
  std::vector<int32_t> experts;
  for (int layer = 0; layer < num_layers; ++layer) {
    for (int slot = 0; slot < topology.num_slots(); ++slot) {
      const int rank = topology.rank_of_slot(slot);
      const int64_t first = int64_t{rank} * num_experts / topology.num_ranks();
      experts.push_back(
          static_cast<int32_t>((first + slot - topology.first_slot_of_rank(rank)) % num_experts));
    }
  }
  return Placement::Create(topology, num_experts, std::move(experts), DuplicateRule::kAllow);
}

Result<ForeignPlacement> ParseTensorrtLlm(const std::string& text, const ImportOptions& options) {
  try {
    STEELYARD_RETURN_IF_ERROR(CheckOneDocument(text));
    return Parse(YAML::Load(text), options);
  } catch (const YAML::Exception& error) {
    // Without its own "yaml-cpp: error at".
    return InvalidArgument(fmt::format("line {}, column {}: {}", error.mark.line + 1,
                                       error.mark.column + 1, OneLine(error.msg)));
  }
}

Result<std::string> FormatTensorrtLlm(const ForeignPlacement& foreign) {
  const Placement& placement = foreign.placement;
  if (foreign.layer_updates_per_iter < 0) {
    return InvalidArgument(
        fmt::format("{}: {} is negative", kUpdates, foreign.layer_updates_per_iter));
  }
  std::string text;
  if (foreign.is_assigned) {
    fmt::format_to(std::back_inserter(text), "{}:\n", kAssignments);
    for (int layer = 0; layer < placement.num_layers(); ++layer) {
      fmt::format_to(std::back_inserter(text), "  {}: [", foreign.layers[layer]);
      AppendList(placement.slot_to_expert(layer), text, ", ");
      text += "]\n";
    }
  } else {
    STEELYARD_ASSIGN_OR_RETURN(
        const Placement layout,
        TensorrtLlmDefaultPlacement(placement.topology(), placement.num_layers(),
                                    placement.num_experts()));
    if (!std::equal(layout.slot_to_expert().begin(), layout.slot_to_expert().end(),
                    placement.slot_to_expert().begin())) {
      return InvalidArgument("a placement that is not the default layout must be assigned");
    }
  }
  fmt::format_to(std::back_inserter(text), "{}: {}\n{}: {}\n", kUpdates,
                 foreign.layer_updates_per_iter, kSlots, placement.num_slots());
  return text;
}

}  // namespace steelyard
