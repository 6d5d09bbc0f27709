// The weighted split of one layer: shares by which the hottest rank is as cool as the placement
// allows (docs/planning.md).
//
// Same bits on every machine: loads become whole numbers, and what is left in doubles is ordered.
// One object per worker; not for use by two threads at once. After Prepare() nothing allocates.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "steelyard/placement/topology.h"

namespace steelyard {

/// Minimises the largest rank load by speed, then the next largest, and so on: the fairest of all
/// splits. Exact to rounding (about 1e-11 of it).
class ShareSolver {
 public:
  /// Takes memory for layers of `num_experts` on `topology`, or on others of as many slots.
  void Prepare(int num_experts, const Topology& topology);

  /// Returns the largest rank load by speed. `expert_loads` is [num_experts], not negative, with a
  /// finite sum; `slot_to_expert` [num_slots] with kNoExpert in slots that are not live, and a
  /// rank may hold an expert twice. `shares` [num_slots] receives what each slot takes of its
  /// expert: they sum to 1 for each expert, evenly where it has no load, and are 0 in empty slots.
  /// Requires: every expert with load has a slot.
  double Solve(std::span<const double> expert_loads, std::span<const int32_t> slot_to_expert,
               const Topology& topology, std::span<double> shares);

  /// Of the last Solve(): tokens of each rank, [num_ranks].
  std::span<const double> rank_loads() const { return rank_loads_; }
  /// Of the last Solve(): the ranks at the maximum, ascending. Together they hold every copy of all
  /// experts that any of them takes load from, so no split cools them all: only another placement
  /// does. None where there is no load.
  std::span<const int32_t> bottleneck_ranks() const { return bottleneck_; }

 private:
  /// Experts and ranks that share load among themselves only: ranges of ranks_ and experts_.
  struct Part {
    int32_t ranks_begin, ranks_end;
    int32_t experts_begin, experts_end;
  };
  struct Holder {
    double level;  // load by speed
    int32_t link;
  };

  void ReadLayer(std::span<const double> expert_loads, std::span<const int32_t> slot_to_expert,
                 const Topology& topology);
  void CountHolders(std::span<const int32_t> slot_to_expert, const Topology& topology);
  void AddLinks(std::span<const int32_t> slot_to_expert, const Topology& topology);
  void WaterFill(int expert);
  bool Level(const Part& part);
  bool FindDistances(const Part& part);
  void PushFrom(int rank);
  bool StepFrom(int rank);
  bool FindTaker(int expert);
  void PushAlongPath(int from, int to);
  std::pair<Part, Part> Split(const Part& part);
  double WriteShares(std::span<const double> expert_loads, std::span<const int32_t> slot_to_expert,
                     const Topology& topology, std::span<double> shares);

  // A link is an (expert, rank) pair of an expert that several ranks hold. Links are numbered by
  // rank.
  std::vector<int64_t> units_;         // [num_experts] load in whole units
  std::vector<int32_t> num_slots_of_;  // [num_experts]
  std::vector<int32_t> num_ranks_of_;  // [num_experts] that hold it
  std::vector<int32_t> last_rank_;     // [num_experts] the last rank seen to hold it
  std::vector<int32_t> last_link_;     // [num_experts]
  std::vector<double> speed_;          // [num_ranks]
  std::vector<int64_t> load_;          // [num_ranks] in units
  std::vector<int64_t> surplus_;       // [num_ranks] load above the level of the rank's part
  std::vector<int32_t> rank_links_;    // [num_ranks + 1] first link of each rank
  std::vector<int32_t> slot_link_;     // [num_slots] -1 where there is none
  std::vector<int32_t> link_expert_;   // [num_links]
  std::vector<int32_t> link_rank_;     // [num_links]
  std::vector<int32_t> link_slots_;    // [num_links] of that expert on that rank
  std::vector<int64_t> flow_;          // [num_links] units that the rank takes of the expert
  std::vector<int32_t> expert_begin_;  // [num_experts] first of its links in expert_links_
  std::vector<int32_t> expert_links_;  // [num_links]
  std::vector<Holder> holders_;        // of the expert at hand

  std::vector<Part> parts_;             // still to be levelled
  std::vector<int32_t> ranks_;          // those with links, part by part
  std::vector<int32_t> experts_;        // those with links, part by part
  std::vector<int32_t> rank_part_;      // [num_ranks] number of its part
  std::vector<int32_t> expert_part_;    // [num_experts]
  std::vector<int32_t> rank_distance_;  // [num_ranks] to a rank with room, or -1
  std::vector<int32_t> expert_distance_;
  std::vector<int32_t> rank_next_;    // [num_ranks] the next link to try
  std::vector<int32_t> expert_next_;  // [num_experts] the same, an index of expert_links_
  std::vector<int32_t> queue_;        // of ranks; and scratch of Split()
  std::vector<int32_t> path_;         // links, alternately given up and taken up
  int32_t num_parts_ = 0;

  std::vector<double> rank_loads_;   // [num_ranks]
  std::vector<int32_t> bottleneck_;  // ascending
};

}  // namespace steelyard
