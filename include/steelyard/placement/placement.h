// A Placement says which logical expert sits in each slot of each layer, and how an expert's tokens
// are shared by its slots.
//
// Every expert has at least one slot in every layer (I1). A Placement never changes after Create(),
// so threads may share one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/placement/topology.h"

namespace steelyard {

/// Whether a rank may hold an expert in two slots of a layer (I2; the reference policies do).
enum class DuplicateRule { kRefuse, kAllow };

/// What stands in a slot that no expert can take: beyond a rank's own slots, or on a dead rank.
inline constexpr int32_t kNoExpert = -1;

class Placement {
 public:
  /// Takes over `slot_to_expert` [num_layers, num_slots] and `shares` (the same shape, or empty for
  /// an even split). Fails with kInvalidArgument, naming the first offender by layer, slot and
  /// rank, when a size is not a positive multiple of topology.num_slots(), an entry is not
  /// kNoExpert where the topology has no live slot, or is outside [0, num_experts) where it has
  /// one, an expert has no slot, a rank holds one twice (unless allowed), or shares are negative,
  /// not finite, or do not sum to 1 within 1e-6 for each expert.
  static Result<Placement> Create(const Topology& topology, int num_experts,
                                  std::vector<int32_t> slot_to_expert, DuplicateRule duplicates,
                                  std::vector<double> shares = {});

  /// The p-th live slot holds expert p mod num_experts in every layer. Fails when there are fewer
  /// slots than experts or more slots on a rank than experts.
  static Result<Placement> Contiguous(const Topology& topology, int num_layers, int num_experts);

  const Topology& topology() const { return topology_; }
  int num_layers() const { return num_layers_; }
  int num_experts() const { return num_experts_; }
  int num_slots() const { return topology_.num_slots(); }

  /// Expert in every slot, kNoExpert where it is not live, [num_slots].
  std::span<const int32_t> slot_to_expert(int layer_idx) const;
  /// All layers, [num_layers, num_slots].
  std::span<const int32_t> slot_to_expert() const { return slot_to_expert_; }

  /// False where every expert's tokens are split evenly over its slots.
  bool has_shares() const { return !shares_.empty(); }
  /// Share of its expert's tokens that each slot takes, [num_slots]; empty for an even split.
  std::span<const double> shares(int layer_idx) const;

  /// True where the p-th live slot of the layer holds expert p mod num_experts.
  bool IsContiguous(int layer_idx) const;
  /// Slots whose expert an earlier slot of the same rank already holds.
  int CountDuplicates(int layer_idx) const;
  int CountDuplicates() const;

  /// A hash of everything above, equal on every machine for equal placements.
  uint64_t Digest() const;

  /// For example "6 layers, 32 experts on 4 ranks x 9 slots on 1 node, even split".
  std::string ToString() const;

  friend bool operator==(const Placement&, const Placement&) = default;

 private:
  Placement() = default;

  Topology topology_;
  int num_layers_ = 0;
  int num_experts_ = 0;
  std::vector<int32_t> slot_to_expert_;  // [num_layers, num_slots]
  std::vector<double> shares_;           // [num_layers, num_slots] or empty
};

/// (expert, rank) pairs present in `to` and absent in `from`, in one layer: bundles that must cross
/// a link. Ranks are matched by number; one that `from` lacks holds nothing there. Requires: the
/// same layers and experts.
int CountMoves(const Placement& from, const Placement& to, int layer_idx);
int64_t CountMoves(const Placement& from, const Placement& to);

/// Slots of each expert of a layer, ascending: the inverse of slot_to_expert. Result
/// [num_experts][copies].
std::vector<std::vector<int32_t>> LogicalToPhysical(const Placement& placement, int layer_idx);

/// Local slot of each expert on `rank`, -1 where the rank does not hold it, [num_experts]. Of
/// duplicates the lowest slot.
std::vector<int32_t> ExpertMap(const Placement& placement, int layer_idx, int rank);

}  // namespace steelyard
