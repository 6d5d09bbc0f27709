// One layer of the `deepseek` and `vllm` policies: the rules of DeepSeek's EPLB
// (`rebalance_experts`), in the precision and the order of ties of either.
//
// Pack groups of experts to nodes, replicate the heaviest experts within each node, pack the
// replicas to the node's ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/introsort.h"
#include "steelyard/placement/topology.h"

namespace steelyard {

/// The reference's own: loads in float32, ties as its sort leaves them.
struct DeepseekArithmetic {
  using Load = float;
  using Item = SortItem;
  static void SortDescending(std::span<Item> items) { Introsort::SortDescending(items); }
};

/// vLLM's: weights stay float32, but their division and the sums of a pack are float64; ties in
/// order of index.
struct VllmArithmetic {
  using Load = double;
  struct Item {
    double value;
    int32_t index;
  };
  static void SortDescending(std::span<Item> items);
};

/// Workspace of one worker. After the first layer of a shape nothing allocates.
template <typename Arithmetic>
class EplbLayer {
 public:
  /// Writes the expert of every slot and which of its expert's copies (from 0) the slot holds, both
  /// [num_slots]. `weight` is [num_experts]. Where the nodes do not divide `num_groups`, groups and
  /// nodes are ignored, as the reference does. Requires: num_experts <= num_slots; where the nodes
  /// divide num_groups, num_groups divides num_experts.
  void Place(std::span<const float> weight, int num_groups, const Topology& topology,
             std::span<int32_t> slot_to_expert, std::span<int32_t> slot_to_copy);

 private:
  using Load = typename Arithmetic::Load;

  void OrderExpertsByNode(std::span<const float> weight, int num_groups, int num_nodes);
  void Replicate(std::span<const int32_t> experts, int num_slots);
  void Pack(std::span<const Load> weight, int num_packs);

  std::span<const float> weight_;    // [num_experts]
  std::vector<int32_t> node_order_;  // [num_experts] node by node
  std::vector<Load> group_load_;     // [num_groups]

  // Of one node:
  std::vector<int32_t> copies_;    // [experts of the node]
  std::vector<int32_t> local_of_;  // [slots of the node] index among the node's experts
  std::vector<int32_t> copy_of_;   // [slots of the node]
  std::vector<Load> slot_load_;    // [slots of the node]

  // Of one Pack():
  std::vector<typename Arithmetic::Item> sorted_;  // [num_items]
  std::vector<Load> pack_load_;                    // [num_packs]
  std::vector<int32_t> pack_size_;                 // [num_packs]
  std::vector<int32_t> place_of_;  // [num_items] pack * items per pack + position in the pack
};

using DeepseekLayer = EplbLayer<DeepseekArithmetic>;

}  // namespace steelyard
