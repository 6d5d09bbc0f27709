#include "migrate/transfer_sources.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr int32_t kNobody = -1;

// The arrivals of one rank in one layer. No source gets more than the limit of them (Kuhn's
// method).
class Receiver {
 public:
  Receiver(const Topology& topology, int64_t limit, int rank)
      : topology_(topology), limit_(limit), node_(topology.node_of_rank(rank)) {}

  /// One of `holders` is to send it; `queued` [num_ranks] counts what each sends in its round.
  bool Add(std::span<const int32_t> holders, std::vector<int>& queued) {
    arrivals_.push_back({{holders.begin(), holders.end()}, &queued});
    visited_.clear();
    return FindSource(arrivals_.size() - 1);
  }

  int32_t source(size_t arrival_idx) const { return arrivals_[arrival_idx].source; }

 private:
  struct Wanted {
    std::vector<int32_t> holders;
    std::vector<int>* queued;
    int32_t source = kNobody;
  };

  bool FindSource(size_t arrival_idx) {
    for (const bool near : {true, false}) {
      if (TakeFreeSource(arrival_idx, near) || TakePlaceOfAnother(arrival_idx, near)) return true;
    }
    return false;
  }

  bool IsNear(int32_t rank) const { return topology_.node_of_rank(rank) == node_; }

  bool TakeFreeSource(size_t arrival_idx, bool near) {
    const Wanted& wanted = arrivals_[arrival_idx];
    int32_t best = kNobody;
    for (const int32_t rank : wanted.holders) {
      if (IsNear(rank) == near && num_sent_[rank] < limit_ &&
          (best == kNobody || (*wanted.queued)[rank] < (*wanted.queued)[best])) {
        best = rank;
      }
    }
    if (best == kNobody) return false;
    ++num_sent_[best];
    SetSource(arrival_idx, best);
    return true;
  }

  // Another arrival goes elsewhere and leaves its place.
  bool TakePlaceOfAnother(size_t arrival_idx, bool near) {
    for (const int32_t rank : std::vector<int32_t>(arrivals_[arrival_idx].holders)) {
      if (IsNear(rank) != near || !visited_.insert(rank).second) continue;
      for (size_t other = 0; other < arrivals_.size(); ++other) {
        if (arrivals_[other].source == rank && FindSource(other)) {
          SetSource(arrival_idx, rank);
          return true;
        }
      }
    }
    return false;
  }

  void SetSource(size_t arrival_idx, int32_t rank) {
    Wanted& wanted = arrivals_[arrival_idx];
    if (wanted.source != kNobody) --(*wanted.queued)[wanted.source];
    ++(*wanted.queued)[rank];
    wanted.source = rank;
  }

  const Topology& topology_;
  const int64_t limit_;
  const int node_;
  std::vector<Wanted> arrivals_;
  std::map<int32_t, int64_t> num_sent_;  // by source
  std::set<int32_t> visited_;            // sources, in the search for one arrival
};

// Writes the ranks that hold each expert, ascending, [num_experts].
void FindHolders(const Topology& topology, std::span<const int32_t> slot_to_expert,
                 std::vector<std::vector<int32_t>>& holders) {
  for (std::vector<int32_t>& ranks : holders) ranks.clear();
  for (size_t slot = 0; slot < slot_to_expert.size(); ++slot) {
    STEELYARD_CHECK(slot_to_expert[slot] >= 0);
    holders[slot_to_expert[slot]].push_back(topology.rank_of_slot(static_cast<int>(slot)));
  }
}

// One layer of a migration, round after round.
class LayerSources {
 public:
  LayerSources(const Placement& from, const MoveLimits& limits, int layer)
      : topology_(from.topology()), limits_(limits), holders_(from.num_experts()) {
    FindHolders(topology_, from.slot_to_expert(layer), holders_);
  }

  /// Both outlive this; `queued` [num_ranks] is of the arrival's round.
  void Add(Arrival& arrival, std::vector<int>& queued) {
    const std::vector<int32_t>& holders = holders_[arrival.expert];
    STEELYARD_CHECK(!holders.empty());
    if (MayEnterNode(arrival, holders)) {
      receivers_[arrival.rank].push_back({&arrival, holders, &queued});
    } else {
      too_far_.push_back(arrival);
    }
  }

  /// The round is over.
  void Apply(const LayerStep& step) { FindHolders(topology_, step.slot_to_expert, holders_); }

  /// Comes after all rounds; appends what nobody may send to `unsent`.
  void Finish(std::vector<Arrival>& unsent) {
    for (auto& [rank, wanted] : receivers_) {
      Receiver receiver(topology_, limits_.per_rank_pair, rank);
      for (size_t i = 0; i < wanted.size(); ++i) {
        if (!receiver.Add(wanted[i].holders, *wanted[i].queued)) {
          unsent.push_back(*wanted[i].arrival);
        }
      }
      for (size_t i = 0; i < wanted.size(); ++i) {
        wanted[i].arrival->source_rank = receiver.source(i);
      }
    }
    unsent.insert(unsent.end(), too_far_.begin(), too_far_.end());
  }

 private:
  struct Wanted {
    Arrival* arrival;
    std::vector<int32_t> holders;
    std::vector<int>* queued;
  };

  bool MayEnterNode(const Arrival& arrival, const std::vector<int32_t>& holders) {
    const int node = topology_.node_of_rank(arrival.rank);
    const bool is_there = std::any_of(holders.begin(), holders.end(), [&](int32_t rank) {
      return topology_.node_of_rank(rank) == node;
    });
    const std::pair<int32_t, int> crossing(arrival.expert, node);
    if (is_there || crossings_.contains(crossing)) return true;
    if (static_cast<int64_t>(crossings_.size()) >= limits_.across_nodes) return false;
    crossings_.insert(crossing);
    return true;
  }

  const Topology& topology_;
  const MoveLimits& limits_;
  std::vector<std::vector<int32_t>> holders_;         // before the next round
  std::map<int32_t, std::vector<Wanted>> receivers_;  // by rank
  std::set<std::pair<int32_t, int>> crossings_;       // experts and the nodes that they enter
  std::vector<Arrival> too_far_;
};

}  // namespace

bool BindSources(const MoveLimits& limits) {
  return limits.per_rank_pair != MoveLimits::kNone || limits.across_nodes != MoveLimits::kNone;
}

std::vector<Arrival> ChooseSources(const Placement& from, const MoveLimits& limits,
                                   std::vector<Round>& rounds) {
  std::vector<std::vector<int>> queued(rounds.size(),
                                       std::vector<int>(from.topology().num_ranks(), 0));
  std::vector<LayerSources> layers;
  for (int layer = 0; layer < from.num_layers(); ++layer) {
    layers.emplace_back(from, limits, layer);
  }
  for (size_t i = 0; i < rounds.size(); ++i) {
    for (Arrival& arrival : rounds[i].arrivals) layers[arrival.layer].Add(arrival, queued[i]);
    for (const LayerStep& step : rounds[i].steps) layers[step.layer].Apply(step);
  }
  std::vector<Arrival> unsent;
  for (LayerSources& layer : layers) layer.Finish(unsent);
  return unsent;
}

std::vector<std::vector<size_t>> FindCyclesBefore(const Placement& from, const MoveLimits& limits,
                                                  std::span<const RankedCycle> cycles) {
  struct Wanted {
    size_t cycle_idx;
    int32_t expert;
  };
  std::map<std::pair<int, int32_t>, std::vector<Wanted>> arrivals;  // by layer, rank
  std::map<std::tuple<int, int32_t, int32_t>, size_t> taken_away;   // by layer, rank, expert
  for (size_t i = 0; i < cycles.size(); ++i) {
    for (const SlotChange& change : cycles[i].cycle.changes) {
      arrivals[{cycles[i].layer, change.rank}].push_back({i, change.arriving});
      taken_away[{cycles[i].layer, change.rank, change.leaving}] = i;
    }
  }
  std::vector<std::vector<size_t>> before(cycles.size());
  std::vector<std::vector<int32_t>> holders(from.num_experts());
  std::vector<int> queued(from.topology().num_ranks(), 0);
  int layer = -1;
  for (const auto& [place, wanted] : arrivals) {
    const int rank = place.second;
    if (place.first != layer) {
      layer = place.first;
      FindHolders(from.topology(), from.slot_to_expert(layer), holders);
    }
    Receiver receiver(from.topology(), limits.per_rank_pair, rank);
    for (const Wanted& one : wanted) receiver.Add(holders[one.expert], queued);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto taker = taken_away.find({layer, receiver.source(i), wanted[i].expert});
      if (taker != taken_away.end()) before[taker->second].push_back(wanted[i].cycle_idx);
    }
  }
  return before;
}

}  // namespace steelyard
