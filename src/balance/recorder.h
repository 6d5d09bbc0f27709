// Counts of one rank in the window that is running: tokens per slot, and per expert for what was
// counted before a layer flipped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/load/load_window.h"
#include "steelyard/migrate/layer_tables.h"

namespace steelyard {

/// The shape of what one rank counts and contributes to a gather: uint32 per slot, then uint32 per
/// expert.
struct PartShape {
  int num_bins = 0;
  int num_layers = 0;
  int slots_per_rank = 0;
  int num_experts = 0;

  size_t num_slot_counts() const {
    return size_t{1} * num_bins * kNumPhases * num_layers * slots_per_rank;
  }
  size_t num_expert_counts() const {
    return size_t{1} * num_bins * kNumPhases * num_layers * num_experts;
  }
  size_t num_counts() const { return num_slot_counts() + num_expert_counts(); }
  size_t slot_row(int bin_idx, int phase_idx, int layer) const {
    return ((size_t{1} * bin_idx * kNumPhases + phase_idx) * num_layers + layer) * slots_per_rank;
  }
  size_t expert_row(int bin_idx, int phase_idx, int layer) const {
    return num_slot_counts() +
           ((size_t{1} * bin_idx * kNumPhases + phase_idx) * num_layers + layer) * num_experts;
  }
};

class Recorder {
 public:
  explicit Recorder(const PartShape& shape)
      : shape_(shape),
        counts_(shape.num_counts(), 0),
        loads_(size_t{1} * shape.num_layers * shape.slots_per_rank, 0) {}

  /// Adds tokens that the slots of this rank received, [slots_per_rank].
  void Add(int bin_idx, Phase phase, int layer, std::span<const uint32_t> counts);

  /// Moves what `layer`'s slots counted so far to the experts they held, before the slots change
  /// meaning. `held` is the expert in each slot of this rank, [slots_per_rank].
  void Fold(int layer, std::span<const int32_t> held);

  /// The window's counts so far, [PartShape::num_counts()].
  std::span<const uint32_t> counts() const { return counts_; }
  /// Starts the next window.
  void Clear() { std::fill(counts_.begin(), counts_.end(), 0); }

  /// Tokens per slot since ClearLoads(), [num_layers, slots_per_rank].
  std::span<const int64_t> loads() const { return loads_; }
  void ClearLoads() { std::fill(loads_.begin(), loads_.end(), 0); }

 private:
  const PartShape shape_;
  std::vector<uint32_t> counts_;
  std::vector<int64_t> loads_;
};

}  // namespace steelyard
