#include "plan/flashlb_layer.h"

#include <algorithm>

#include "plan/keep_slots.h"

namespace steelyard {

void FlashlbLayer::Prepare(const LayerShape& shape) {
  shape_ = shape;
  loads_.Prepare(shape);
  packer_.Prepare(shape);
  labeller_.Prepare(shape);
  const size_t num_extra = shape.num_slots() - shape.num_experts;
  for (std::vector<int32_t>* experts : {&order_, &settled_, &copies_, &best_copies_}) {
    experts->assign(shape.num_experts, 0);
  }
  for (std::vector<int32_t>* slots : {&slots_, &best_slots_}) {
    slots->assign(shape.num_slots(), 0);
  }
  own_.reserve(num_extra);
  later_.reserve(num_extra);
}

double FlashlbLayer::Plan(std::span<const int32_t> current, std::span<int32_t> slot_to_expert) {
  sorter_.SortDescending(loads_.scores(), order_);
  std::fill(settled_.begin(), settled_.end(), 1);
  num_open_ = shape_.num_slots() - shape_.num_experts;

  ChooseGreedily({0, shape_.num_experts}, num_open_, later_);
  best_copies_ = settled_;
  for (const int32_t expert : later_) ++best_copies_[expert];
  best_imbalance_ = packer_.Pack(loads_, best_copies_, best_slots_);
  for (int group_idx = 0; group_idx + 1 < kNumGroups; ++group_idx) {
    SearchGroup(group_idx);
  }
  WriteSlots(current, slot_to_expert);
  return best_imbalance_;
}

/// Lists who gets up to `num_extra` copies in `range`, one by one: the expert with the highest
/// score per copy (ties to the first in order) that is not yet on every rank.
void FlashlbLayer::ChooseGreedily(Range range, int num_extra, std::vector<int32_t>& chosen) {
  chosen.clear();
  copies_ = settled_;
  while (static_cast<int>(chosen.size()) < num_extra) {
    int32_t best = -1;
    double highest = 0.0;
    for (int i = range.first; i < range.second; ++i) {
      const int32_t expert = order_[i];
      const double score = loads_.scores()[expert] / copies_[expert];
      if (copies_[expert] < shape_.num_ranks && score > highest) {
        best = expert;
        highest = score;
      }
    }
    if (best < 0) return;
    ++copies_[best];
    chosen.push_back(best);
  }
}

int FlashlbLayer::NumExtra(Range range) const {
  int num_extra = 0;
  for (int i = range.first; i < range.second; ++i) {
    num_extra += best_copies_[order_[i]] - 1;
  }
  return num_extra;
}

// The best so far has the greedy number in this group and the greedy choice after it, so what is
// left to try lies to either side; the nearest comes first and keeps a tie.
void FlashlbLayer::SearchGroup(int group_idx) {
  const Range group = Group(group_idx);
  ChooseGreedily(group, num_open_, own_);
  ChooseGreedily({group.second, shape_.num_experts}, num_open_, later_);
  const int greedy = NumExtra(group);
  for (int distance = 1; distance <= kReach; ++distance) {
    Try(greedy - distance);
    Try(greedy + distance);
  }
  for (int i = group.first; i < group.second; ++i) {
    settled_[order_[i]] = best_copies_[order_[i]];
  }
  num_open_ -= NumExtra(group);
}

/// Gives the group `num_own` extra copies and the groups after it the others, where they can take
/// them.
void FlashlbLayer::Try(int num_own) {
  const int num_later = num_open_ - num_own;
  if (num_own < 0 || num_own > static_cast<int>(own_.size()) || num_later < 0 ||
      num_later > static_cast<int>(later_.size())) {
    return;
  }
  copies_ = settled_;
  for (int i = 0; i < num_own; ++i) ++copies_[own_[i]];
  for (int i = 0; i < num_later; ++i) ++copies_[later_[i]];
  const double imbalance = packer_.Pack(loads_, copies_, slots_);
  if (imbalance < best_imbalance_) {
    best_imbalance_ = imbalance;
    best_copies_.swap(copies_);
    best_slots_.swap(slots_);
  }
}

void FlashlbLayer::WriteSlots(std::span<const int32_t> current, std::span<int32_t> slot_to_expert) {
  labeller_.Label({.slot_to_expert = current,
                   .num_ranks = shape_.num_ranks,
                   .slots_per_rank = shape_.slots_per_rank},
                  best_slots_);
  KeepSlots(shape_.slots_per_rank, current, best_slots_, slot_to_expert);
}

}  // namespace steelyard
