// The best placement of a small layer, by trying them all. Only tests include this.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "steelyard/placement/topology.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Where every expert's tokens go if its holders may share them as they like: the largest rank load
/// by speed that can then be reached. That is the most, over all sets of experts, of their load by
/// the speed of all ranks that hold any of them (maximum flow is minimum cut). `holders` has a bit
/// per rank for each expert.
inline double LeastPeakOfHolders(const Topology& topology, std::span<const double> loads,
                                 std::span<const uint32_t> holders) {
  double peak = 0.0;
  for (uint32_t set = 1; set < (1U << loads.size()); ++set) {
    double load = 0.0;
    uint32_t ranks = 0;
    for (size_t e = 0; e < loads.size(); ++e) {
      if ((set >> e & 1) == 0) continue;
      load += loads[e];
      ranks |= holders[e];
    }
    double speed = 0.0;
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      speed += (ranks >> rank & 1) != 0 ? topology.speed(rank) : 0.0;
    }
    peak = std::max(peak, load / speed);
  }
  return peak;
}

/// The smallest largest rank load by speed of any placement that fills every live slot and has no
/// duplicates. Even: about 8 experts on 4 ranks; weighted: 5 on 3.
class SmallOptimum {
 public:
  SmallOptimum(const Topology& topology, std::span<const double> loads, SplitRule split)
      : topology_(topology), loads_(loads.size()), split_(split), holders_(loads.size(), 0) {
    std::copy(loads.begin(), loads.end(), loads_.begin());
    std::sort(loads_.begin(), loads_.end(), std::greater<>());
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const int slots = topology.live_slots(rank);
      if (slots > 0) ranks_.push_back({0.0, topology.speed(rank), slots, rank});
    }
  }

  /// Placements that are not better than `known` are not looked at; returns `known` if none is.
  double Peak(double known = std::numeric_limits<double>::infinity()) {
    best_ = known;
    Try(0);
    return best_;
  }

 private:
  struct Rank {
    double load;
    double speed;
    int free_slots;
    int id;

    bool IsLike(const Rank& other) const {
      return load == other.load && speed == other.speed && free_slots == other.free_slots;
    }
  };

  /// Of ranks that are alike so far it is enough to try the first ones, if copies so far count:
  /// with weighted shares they do not.
  bool IsFirstOfAlike(uint32_t set) const {
    for (size_t i = 1; i < ranks_.size(); ++i) {
      if ((set >> i & 1) == 0) continue;
      for (size_t j = 0; j < i; ++j) {
        if ((set >> j & 1) == 0 && ranks_[i].IsLike(ranks_[j])) return false;
      }
    }
    return true;
  }

  /// Slots can still be filled by this many experts, each at most once on a rank.
  bool CanBeFilled(int num_experts) const {
    int free_slots = 0;
    for (const Rank& rank : ranks_) {
      if (rank.free_slots < 0 || rank.free_slots > num_experts) return false;
      free_slots += rank.free_slots;
    }
    return free_slots >= num_experts;
  }

  double PeakSoFar() const {
    double peak = 0.0;
    for (const Rank& rank : ranks_) peak = std::max(peak, rank.load / rank.speed);
    return peak;
  }

  void Try(size_t expert) {
    const bool is_even = split_ == SplitRule::kEven;
    if (is_even && PeakSoFar() >= best_) return;
    if (!CanBeFilled(static_cast<int>(loads_.size() - expert))) return;
    if (expert == loads_.size()) {
      best_ =
          std::min(best_, is_even ? PeakSoFar() : LeastPeakOfHolders(topology_, loads_, holders_));
      return;
    }
    for (uint32_t set = 1; set < (1U << ranks_.size()); ++set) {
      if (is_even && !IsFirstOfAlike(set)) continue;
      const std::vector<Rank> before = ranks_;
      holders_[expert] = 0;
      for (size_t i = 0; i < ranks_.size(); ++i) {
        if ((set >> i & 1) == 0) continue;
        ranks_[i].load += loads_[expert] / std::popcount(set);
        --ranks_[i].free_slots;
        holders_[expert] |= 1U << ranks_[i].id;
      }
      Try(expert + 1);
      ranks_ = before;
    }
  }

  Topology topology_;
  std::vector<double> loads_;  // heaviest first
  SplitRule split_;
  std::vector<Rank> ranks_;        // those alive
  std::vector<uint32_t> holders_;  // [num_experts] a bit per rank
  double best_ = 0.0;
};

}  // namespace steelyard
