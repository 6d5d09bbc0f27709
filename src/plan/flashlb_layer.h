// One layer of the `flashlb` policy: a search over how many copies groups of experts get, each
// candidate placed and judged as a whole.
//
// One object per worker; nothing allocates after Prepare().
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "plan/flashlb_loads.h"
#include "plan/flashlb_order.h"
#include "plan/flashlb_pack.h"
#include "plan/steelyard_label.h"
#include "plan/steelyard_layer_state.h"
#include "steelyard/base/span.h"

namespace steelyard {

class FlashlbLayer {
 public:
  void Prepare(const LayerShape& shape);

  /// Takes the tokens of every expert, `bins` [num_bins, num_experts]. Comes before the rest.
  void SetLoads(Span2<const double> bins) { loads_.Set(bins); }

  /// The mean over the bins of max / mean rank load, with one token more for every expert.
  double Imbalance(std::span<const int32_t> slot_to_expert) {
    return loads_.Imbalance(slot_to_expert);
  }

  /// Writes a new placement to `slot_to_expert` [num_slots] and returns its Imbalance(). Ranks are
  /// named so that much of `current` [num_slots] stays on its rank, and what stays keeps its slot.
  double Plan(std::span<const int32_t> current, std::span<int32_t> slot_to_expert);

 private:
  static constexpr int kNumGroups = 4;
  // The search goes this many copies to either side of the greedy number.
  static constexpr int kReach = 8;

  // Experts are in the order of their scores here; a range of them is [first, last).
  using Range = std::pair<int, int>;
  Range Group(int group_idx) const {
    return {group_idx * shape_.num_experts / kNumGroups,
            (group_idx + 1) * shape_.num_experts / kNumGroups};
  }

  void ChooseGreedily(Range range, int num_extra, std::vector<int32_t>& chosen);
  void SearchGroup(int group_idx);
  int NumExtra(Range range) const;
  void Try(int num_own);
  void WriteSlots(std::span<const int32_t> current, std::span<int32_t> slot_to_expert);

  LayerShape shape_;
  FlashlbLoads loads_;
  FlashlbOrder sorter_;
  FlashlbPacker packer_;
  RankLabeller labeller_;
  std::vector<int32_t> order_;    // [num_experts] by score, the highest first
  std::vector<int32_t> settled_;  // [num_experts] copies; one each in groups not yet searched
  std::vector<int32_t> copies_;   // [num_experts] of the candidate at hand
  std::vector<int32_t> slots_;    // [num_slots] of the candidate at hand
  std::vector<int32_t> own_;      // experts of the searched group in the order they get copies
  std::vector<int32_t> later_;    // the same of the groups after it
  int num_open_ = 0;              // extra copies not yet settled

  std::vector<int32_t> best_copies_;  // [num_experts]
  std::vector<int32_t> best_slots_;   // [num_slots]
  double best_imbalance_ = 0.0;
};

}  // namespace steelyard
