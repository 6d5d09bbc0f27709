// Placements in the files of other systems: vLLM-Ascend's expert_map.json, SGLang's
// --init-expert-location and TensorRT-LLM's moe_load_balancer.yaml. docs/formats.md says what each
// can say.
//
// Layers of a Placement are MoE layers in model order. SGLang has a row for every layer of the
// model and TensorRT-LLM numbers layers as the model does, so that both need to know which layers
// these are. None of the files names nodes, and only a Steelyard file says how many experts there
// are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

enum class PlacementFormat : uint8_t { kSteelyard, kVllmAscend, kSglang, kTensorrtLlm };

/// "steelyard", "vllm-ascend", "sglang" or "tensorrt-llm".
std::string_view PlacementFormatName(PlacementFormat format);

/// Fails with kInvalidArgument and the list of names.
Result<PlacementFormat> ParsePlacementFormat(std::string_view name);

/// What a file itself does not say. 0 and empty: not known.
struct ImportOptions {
  int num_ranks = 0;  // SGLang and TensorRT-LLM need it
  int num_nodes = 1;
  /// Not known: as many as the ids in the file say.
  int num_experts = 0;
  /// Needed only where a TensorRT-LLM file assigns nothing.
  int num_layers = 0;
  /// Model layers that are MoE layers, ascending, or the first of those that follow each other up
  /// to the end.
  std::vector<int> layers = {};
  int first_layer = 0;
};

/// A placement with what a file says besides, so that writing gives back the same content.
struct ForeignPlacement {
  Placement placement;
  /// Model layer of each MoE layer, ascending, [num_layers].
  std::vector<int> layers = {};
  /// SGLang: rows of the other layers, which it never uses, in order, [.., num_slots]. Those that
  /// are missing hold expert p mod num_experts in slot p.
  std::vector<int32_t> unused_rows = {};
  /// TensorRT-LLM: layers renewed per iteration; 0 keeps the placement for ever.
  int layer_updates_per_iter = 0;
  /// TensorRT-LLM: false where the placement is the default layout and not in the file.
  bool is_assigned = true;

  /// `layers` are first_layer and those after it.
  static ForeignPlacement Of(Placement placement, int first_layer = 0);
};

/// Tells a format by the keys of a JSON file or the extension of a YAML file; nothing where it is
/// none of them. Fails where the file cannot be read or is broken.
Result<std::optional<PlacementFormat>> DetectPlacementFormat(const std::filesystem::path& path);

/// Reads a file of any of the formats. Duplicates are refused in vLLM-Ascend's and taken in the
/// others. Every failure names the file, the place in it and the rule.
Result<ForeignPlacement> ImportPlacement(const std::filesystem::path& path, PlacementFormat format,
                                         const ImportOptions& options);

/// Writes it: temporary name, fsync, rename. Fails, naming what it is, where the format cannot say
/// something: shares, ranks that differ or are dead, duplicates (vLLM-Ascend). Nodes are left out.
Status ExportPlacement(const std::filesystem::path& path, PlacementFormat format,
                       const ForeignPlacement& foreign);

/// TensorRT-LLM's layout where nothing is assigned: slot i of rank r holds expert
/// (r x num_experts div num_ranks + i) mod num_experts. Fails as Placement::Create().
Result<Placement> TensorrtLlmDefaultPlacement(const Topology& topology, int num_layers,
                                              int num_experts);

}  // namespace steelyard
