#include "plan/score.h"

#include <algorithm>
#include <functional>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

/// A total order, so that which entry is on top does not depend on how the heap is laid out.
struct Lighter {
  bool operator()(const CopyLoad& a, const CopyLoad& b) const {
    return a.load_per_copy != b.load_per_copy ? a.load_per_copy < b.load_per_copy
                                              : a.expert > b.expert;
  }
};

double Sum(std::span<const double> loads) {
  double sum = 0.0;
  for (double load : loads) {
    sum += load;
  }
  return sum;
}

/// Of experts whose load is above `floor`, one copy each.
void ListExperts(std::span<const double> expert_loads, double floor, std::vector<CopyLoad>& heap) {
  heap.clear();
  for (size_t e = 0; e < expert_loads.size(); ++e) {
    if (expert_loads[e] > floor) {
      heap.push_back({expert_loads[e], static_cast<int32_t>(e), 1});
    }
  }
}

/// Leaves out experts that never come to the top in `count` - 1 grants: each one that does has had
/// at least one.
void KeepHeaviest(size_t count, std::vector<CopyLoad>& heap) {
  if (count >= heap.size()) {
    return;
  }
  const auto heavier = [](const CopyLoad& a, const CopyLoad& b) { return Lighter()(b, a); };
  std::nth_element(heap.begin(), heap.begin() + static_cast<ptrdiff_t>(count), heap.end(), heavier);
  heap.resize(count);
}

/// One more copy for the expert on top, which has `load` in all.
void GrantToTop(std::vector<CopyLoad>& heap, double load, std::span<const double> strength) {
  std::pop_heap(heap.begin(), heap.end(), Lighter());
  CopyLoad& granted = heap.back();
  const int copies = ++granted.copies;
  granted.load_per_copy = load / (strength.empty() ? copies : strength[copies - 1]);
  std::push_heap(heap.begin(), heap.end(), Lighter());
}

/// The most load by time that one copy of an expert, two, .. can take, [num_live_ranks]; nothing
/// where that is the number of copies.
void FindStrength(const Topology& topology, SplitRule split, std::vector<double>& strength) {
  strength.clear();
  if (topology.is_plain()) return;
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    if (!topology.is_dead(rank)) strength.push_back(topology.speed(rank));
  }
  std::sort(strength.begin(), strength.end(), std::greater<>());
  double together = 0.0;
  double evenly = 0.0;
  for (size_t i = 0; i < strength.size(); ++i) {
    together += strength[i];
    evenly = std::max(evenly, strength[i] * static_cast<double>(i + 1));
    strength[i] = split == SplitRule::kWeighted ? together : evenly;
  }
}

void CountCopies(std::span<const int32_t> slot_to_expert, size_t num_experts,
                 std::vector<int32_t>& copies) {
  copies.assign(num_experts, 0);
  for (const int32_t expert : slot_to_expert) {
    if (expert != kNoExpert) ++copies[expert];
  }
}

void CheckCounts(size_t num_experts, int num_ranks, int num_slots) {
  STEELYARD_CHECK_LE(num_experts, static_cast<size_t>(num_slots));
  STEELYARD_CHECK_LE(static_cast<size_t>(num_slots), num_experts * num_ranks);
}

}  // namespace

void ScoreWorkspace::Reserve(int num_experts) {
  heap.reserve(num_experts);
  copies.reserve(num_experts);
}

double Apportion(std::span<const double> expert_loads, int num_ranks, int num_slots,
                 std::span<int32_t> copies, ScoreWorkspace& workspace) {
  CheckCounts(expert_loads.size(), num_ranks, num_slots);
  STEELYARD_CHECK_EQ(copies.size(), expert_loads.size());
  std::vector<CopyLoad>& heap = workspace.heap;
  ListExperts(expert_loads, -1.0, heap);
  KeepHeaviest(num_slots - static_cast<int>(expert_loads.size()) + 1, heap);
  std::make_heap(heap.begin(), heap.end(), Lighter());
  std::fill(copies.begin(), copies.end(), 1);
  double capped = 0.0;  // the largest load per copy among experts that are on every rank
  for (int slot = static_cast<int>(expert_loads.size()); slot < num_slots; ++slot) {
    while (heap.front().copies == num_ranks) {
      capped = std::max(capped, heap.front().load_per_copy);
      std::pop_heap(heap.begin(), heap.end(), Lighter());
      heap.pop_back();
    }
    const int32_t expert = heap.front().expert;
    GrantToTop(heap, expert_loads[expert], {});
    ++copies[expert];
  }
  return heap.empty() ? capped : std::max(capped, heap.front().load_per_copy);
}

double PeakTime(std::span<const double> expert_loads, const Topology& topology, SplitRule split,
                double floor, ScoreWorkspace& workspace) {
  const int num_ranks = topology.num_live_ranks();
  const int num_slots = topology.num_live_slots();
  CheckCounts(expert_loads.size(), num_ranks, num_slots);
  FindStrength(topology, split, workspace.strength);
  const std::span<const double> strength = workspace.strength;
  // As Apportion(), but without experts that cannot lift tau above the floor, and ended as soon as
  // the answer is known: tau is no more than that, or cannot fall any further.
  std::vector<CopyLoad>& heap = workspace.heap;
  const double of_one = strength.empty() ? 1.0 : strength[0];
  ListExperts(expert_loads, floor * of_one, heap);
  for (CopyLoad& entry : heap) entry.load_per_copy /= of_one;
  std::make_heap(heap.begin(), heap.end(), Lighter());
  if (heap.empty()) {
    return floor;
  }
  for (int slot = static_cast<int>(expert_loads.size()); slot < num_slots; ++slot) {
    if (heap.front().load_per_copy <= floor || heap.front().copies == num_ranks) {
      break;
    }
    GrantToTop(heap, expert_loads[heap.front().expert], strength);
  }
  return std::max(floor, heap.front().load_per_copy);
}

double LowerBound(std::span<const double> expert_loads, const Topology& topology, SplitRule split,
                  ScoreWorkspace& workspace) {
  const double mean = Sum(expert_loads) / topology.total_speed();
  return mean > 0.0 ? PeakTime(expert_loads, topology, split, mean, workspace) / mean : 1.0;
}

double Imbalance(Span2<const double> bins, std::span<const int32_t> slot_to_expert,
                 std::span<const double> shares, const Topology& topology,
                 std::span<const double> bin_weights, ScoreWorkspace& workspace) {
  const std::vector<int32_t>& copies = workspace.copies;
  CountCopies(slot_to_expert, bins.num_cols(), workspace.copies);
  const double total_speed = topology.total_speed();
  double sum_max = 0.0;
  double sum_mean = 0.0;
  for (size_t t = 0; t < bins.num_rows(); ++t) {
    const std::span<const double> loads = bins.row(t);
    double largest = 0.0;
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const int begin = topology.first_slot_of_rank(rank);
      if (topology.is_dead(rank)) continue;
      double rank_load = 0.0;
      for (int slot = begin; slot < begin + topology.live_slots(rank); ++slot) {
        const int32_t expert = slot_to_expert[slot];
        rank_load += shares.empty() ? loads[expert] / copies[expert] : loads[expert] * shares[slot];
      }
      largest = std::max(largest, rank_load / topology.speed(rank));
    }
    const double weight = bin_weights.empty() ? 1.0 : bin_weights[t];
    sum_max += weight * largest;
    sum_mean += weight * (Sum(loads) / total_speed);
  }
  return sum_mean > 0.0 ? std::max(1.0, sum_max / sum_mean) : 1.0;
}

double CostImbalance(Span2<const double> bins, std::span<const int32_t> slot_to_expert,
                     std::span<const double> shares, const Topology& topology, const RankCost& cost,
                     ScoreWorkspace& workspace, std::span<const double> bin_weights) {
  if (cost.is_tokens()) return Imbalance(bins, slot_to_expert, shares, topology, {}, workspace);
  CountCopies(slot_to_expert, bins.num_cols(), workspace.copies);
  const double total_speed = topology.total_speed();
  const double num_ranks = topology.num_live_ranks();
  double sum_max = 0.0;
  double sum_level = 0.0;
  for (size_t t = 0; t < bins.num_rows(); ++t) {
    const std::span<const double> loads = bins.row(t);
    const double all_tokens = Sum(loads);
    const double weight = bin_weights.empty() ? 1.0 : bin_weights[t];
    if (weight == 0.0) continue;
    double largest = 0.0;
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      if (topology.is_dead(rank)) continue;
      const int begin = topology.first_slot_of_rank(rank);
      double tokens = 0.0;
      int active = 0;
      for (int slot = begin; slot < begin + topology.live_slots(rank); ++slot) {
        const int32_t expert = slot_to_expert[slot];
        const double taken = shares.empty() ? loads[expert] / workspace.copies[expert]
                                            : loads[expert] * shares[slot];
        tokens += taken;
        active += taken > 0.0 ? 1 : 0;
      }
      largest = std::max(largest, cost(tokens / weight, active) / topology.speed(rank));
    }
    const auto num_active = static_cast<double>(
        std::count_if(loads.begin(), loads.end(), [](double load) { return load > 0.0; }));
    sum_max += weight * largest;
    sum_level += weight *
                 std::max(cost.a * num_ranks + cost.b * num_active,
                          cost.c * num_ranks + cost.d * all_tokens / weight) /
                 total_speed;
  }
  return sum_level > 0.0 ? std::max(1.0, sum_max / sum_level) : 1.0;
}

}  // namespace steelyard
