#include "plan/share_solver.h"

#include <algorithm>
#include <cmath>

#include "steelyard/base/check.h"
#include "steelyard/placement/placement.h"

// Experts that several ranks hold are filled in one by one like water, which comes near. Then parts
// of the layer are levelled exactly: loads move, along shortest paths of experts held in common,
// from ranks above the mean of their part to ranks below it (a maximum flow). Either all ranks
// reach the mean, and no split of the part is fairer; or what is left above it cannot get out:
// ranks that reach none with room form a part of their own, whose experts have no other holder that
// could help, and the others never lend it a hand. Both are levelled in turn.

namespace steelyard {
namespace {

constexpr double kTotalUnits = 2305843009213693952.0;  // 2^61: the load of the layer
/// A part is level when what is left above its mean is less than its load by 2^this.
constexpr int kLevelBits = 44;
/// Ranks within this of the maximum are at it.
constexpr double kAtMaximum = 1.0 - 1e-9;

}  // namespace

void ShareSolver::Prepare(int num_experts, const Topology& topology) {
  const size_t num_slots = topology.num_slots();
  const size_t num_ranks = topology.num_ranks();
  for (auto* list : {&num_slots_of_, &num_ranks_of_, &last_rank_, &last_link_, &expert_begin_,
                     &expert_part_, &expert_distance_, &expert_next_}) {
    list->assign(num_experts, 0);
  }
  units_.assign(num_experts, 0);
  experts_.reserve(num_experts);
  for (auto* list : {&rank_part_, &rank_distance_, &rank_next_}) list->assign(num_ranks, 0);
  speed_.assign(num_ranks, 0.0);
  load_.assign(num_ranks, 0);
  surplus_.assign(num_ranks, 0);
  rank_links_.assign(num_ranks + 1, 0);
  rank_loads_.assign(num_ranks, 0.0);
  for (auto* list : {&ranks_, &bottleneck_}) list->reserve(num_ranks);
  queue_.reserve(std::max<size_t>(num_experts, num_ranks));
  parts_.reserve(num_ranks + 1);
  path_.reserve(2 * num_ranks);
  slot_link_.assign(num_slots, -1);
  for (auto* list : {&link_expert_, &link_rank_, &link_slots_}) list->reserve(num_slots);
  flow_.reserve(num_slots);
  expert_links_.reserve(num_slots);
  holders_.reserve(num_ranks);
}

double ShareSolver::Solve(std::span<const double> expert_loads,
                          std::span<const int32_t> slot_to_expert, const Topology& topology,
                          std::span<double> shares) {
  STEELYARD_CHECK_EQ(expert_loads.size(), units_.size());
  STEELYARD_CHECK_EQ(slot_to_expert.size(), static_cast<size_t>(topology.num_slots()));
  STEELYARD_CHECK_EQ(slot_to_expert.size(), slot_link_.size());
  STEELYARD_CHECK_EQ(shares.size(), slot_to_expert.size());
  STEELYARD_CHECK_EQ(static_cast<size_t>(topology.num_ranks()), load_.size());
  ReadLayer(expert_loads, slot_to_expert, topology);
  for (const int32_t expert : experts_) WaterFill(expert);
  for (const int32_t expert : experts_) WaterFill(expert);
  parts_.clear();
  if (!ranks_.empty()) {
    parts_.push_back(
        {0, static_cast<int32_t>(ranks_.size()), 0, static_cast<int32_t>(experts_.size())});
  }
  num_parts_ = 1;
  while (!parts_.empty()) {
    const Part part = parts_.back();
    parts_.pop_back();
    if (Level(part)) continue;
    const auto [hot, cool] = Split(part);
    parts_.push_back(cool);
    parts_.push_back(hot);
  }
  return WriteShares(expert_loads, slot_to_expert, topology, shares);
}

/// Loads in units, what ranks have from experts that only they hold, and the links.
void ShareSolver::ReadLayer(std::span<const double> expert_loads,
                            std::span<const int32_t> slot_to_expert, const Topology& topology) {
  double total = 0.0;
  for (const double load : expert_loads) total += load;
  for (size_t e = 0; e < expert_loads.size(); ++e) {
    units_[e] =
        total > 0.0 ? static_cast<int64_t>(std::floor(expert_loads[e] / total * kTotalUnits)) : 0;
  }
  CountHolders(slot_to_expert, topology);
  AddLinks(slot_to_expert, topology);
  // The links of an expert, by rank.
  int32_t begin = 0;
  experts_.clear();
  for (size_t e = 0; e < units_.size(); ++e) {
    expert_begin_[e] = begin;
    expert_next_[e] = begin;
    if (num_ranks_of_[e] < 2 || units_[e] == 0) continue;
    begin += num_ranks_of_[e];
    experts_.push_back(static_cast<int32_t>(e));
    expert_part_[e] = 0;
  }
  expert_links_.resize(link_expert_.size());
  for (size_t link = 0; link < link_expert_.size(); ++link) {
    expert_links_[expert_next_[link_expert_[link]]++] = static_cast<int32_t>(link);
  }
}

void ShareSolver::CountHolders(std::span<const int32_t> slot_to_expert, const Topology& topology) {
  std::fill(num_slots_of_.begin(), num_slots_of_.end(), 0);
  std::fill(num_ranks_of_.begin(), num_ranks_of_.end(), 0);
  std::fill(last_rank_.begin(), last_rank_.end(), -1);
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    const int begin = topology.first_slot_of_rank(rank);
    for (int slot = begin; slot < begin + topology.slots_per_rank(); ++slot) {
      const int32_t expert = slot_to_expert[slot];
      if (expert == kNoExpert) continue;
      ++num_slots_of_[expert];
      if (last_rank_[expert] == rank) continue;
      last_rank_[expert] = rank;
      ++num_ranks_of_[expert];
    }
  }
}

void ShareSolver::AddLinks(std::span<const int32_t> slot_to_expert, const Topology& topology) {
  std::fill(last_rank_.begin(), last_rank_.end(), -1);
  for (auto* list : {&link_expert_, &link_rank_, &link_slots_, &ranks_}) list->clear();
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    rank_links_[rank] = static_cast<int32_t>(link_expert_.size());
    speed_[rank] = topology.speed(rank);
    load_[rank] = 0;
    const int begin = topology.first_slot_of_rank(rank);
    for (int slot = begin; slot < begin + topology.slots_per_rank(); ++slot) {
      const int32_t expert = slot_to_expert[slot];
      slot_link_[slot] = -1;
      if (expert == kNoExpert || units_[expert] == 0) continue;
      const bool is_duplicate = last_rank_[expert] == rank;
      last_rank_[expert] = rank;
      if (num_ranks_of_[expert] == 1) {
        load_[rank] += is_duplicate ? 0 : units_[expert];
        continue;
      }
      if (!is_duplicate) {
        last_link_[expert] = static_cast<int32_t>(link_expert_.size());
        link_expert_.push_back(expert);
        link_rank_.push_back(rank);
        link_slots_.push_back(0);
      }
      slot_link_[slot] = last_link_[expert];
      ++link_slots_[last_link_[expert]];
    }
    if (rank_links_[rank] == static_cast<int32_t>(link_expert_.size())) continue;
    ranks_.push_back(rank);
    rank_part_[rank] = 0;
  }
  rank_links_[topology.num_ranks()] = static_cast<int32_t>(link_expert_.size());
  flow_.assign(link_expert_.size(), 0);
}

/// Pours the load of one expert over its holders, as they stand without it, so that those which
/// take any come to one level.
void ShareSolver::WaterFill(int expert) {
  holders_.clear();
  for (int i = 0; i < num_ranks_of_[expert]; ++i) {
    const int32_t link = expert_links_[expert_begin_[expert] + i];
    const int32_t rank = link_rank_[link];
    load_[rank] -= flow_[link];
    flow_[link] = 0;
    holders_.push_back({static_cast<double>(load_[rank]) / speed_[rank], link});
  }
  std::sort(holders_.begin(), holders_.end(), [](const Holder& a, const Holder& b) {
    return a.level != b.level ? a.level < b.level : a.link < b.link;
  });
  double work = static_cast<double>(units_[expert]);
  double speed = 0.0;
  double level = 0.0;
  size_t num_wet = 0;
  while (num_wet < holders_.size() && (num_wet == 0 || level > holders_[num_wet].level)) {
    const int32_t rank = link_rank_[holders_[num_wet].link];
    work += static_cast<double>(load_[rank]);
    speed += speed_[rank];
    level = work / speed;
    ++num_wet;
  }
  int64_t left = units_[expert];
  for (size_t i = num_wet; i-- > 0;) {
    const int32_t link = holders_[i].link;
    const int32_t rank = link_rank_[link];
    const double room = std::floor((level - holders_[i].level) * speed_[rank]);
    const int64_t taken = i == 0 ? left : std::clamp(static_cast<int64_t>(room), int64_t{0}, left);
    flow_[link] = taken;
    load_[rank] += taken;
    left -= taken;
  }
}

/// Brings the ranks of a part to their mean. False where ranks are left above it that reach none
/// below: they are those without a distance.
bool ShareSolver::Level(const Part& part) {
  int64_t load = 0;
  double speed = 0.0;
  for (int32_t i = part.ranks_begin; i < part.ranks_end; ++i) {
    load += load_[ranks_[i]];
    speed += speed_[ranks_[i]];
  }
  const int64_t tolerance = load >> kLevelBits;
  for (int32_t i = part.ranks_begin; i < part.ranks_end; ++i) {
    const int32_t rank = ranks_[i];
    // What rounding leaves over or short goes to the last rank.
    const bool is_last = i + 1 == part.ranks_end;
    const int64_t mean =
        is_last
            ? load
            : static_cast<int64_t>(std::floor(static_cast<double>(load) * (speed_[rank] / speed)));
    surplus_[rank] = load_[rank] - mean;
    load -= mean;
    speed -= speed_[rank];
  }
  while (FindDistances(part)) {
    for (int32_t i = part.ranks_begin; i < part.ranks_end; ++i) PushFrom(ranks_[i]);
  }
  int64_t above = 0;
  for (int32_t i = part.ranks_begin; i < part.ranks_end; ++i) {
    above += std::max<int64_t>(surplus_[ranks_[i]], 0);
  }
  return above <= tolerance;
}

/// Hops from every rank of a part to the nearest rank with room, over experts that it can give up
/// load of. False where no rank with a surplus has any.
bool ShareSolver::FindDistances(const Part& part) {
  for (int32_t i = part.experts_begin; i < part.experts_end; ++i) {
    expert_distance_[experts_[i]] = -1;
    expert_next_[experts_[i]] = expert_begin_[experts_[i]];
  }
  queue_.clear();
  for (int32_t i = part.ranks_begin; i < part.ranks_end; ++i) {
    const int32_t rank = ranks_[i];
    const bool has_room = surplus_[rank] < 0;
    rank_distance_[rank] = has_room ? 0 : -1;
    rank_next_[rank] = rank_links_[rank];
    if (has_room) queue_.push_back(rank);
  }
  bool any = false;
  for (size_t head = 0; head < queue_.size(); ++head) {
    const int32_t rank = queue_[head];
    any = any || surplus_[rank] > 0;
    for (int32_t link = rank_links_[rank]; link < rank_links_[rank + 1]; ++link) {
      const int32_t expert = link_expert_[link];
      if (expert_part_[expert] != rank_part_[rank] || expert_distance_[expert] >= 0) continue;
      expert_distance_[expert] = rank_distance_[rank];
      const int32_t begin = expert_begin_[expert];
      for (int32_t i = begin; i < begin + num_ranks_of_[expert]; ++i) {
        const int32_t giver = link_rank_[expert_links_[i]];
        if (flow_[expert_links_[i]] == 0 || rank_distance_[giver] >= 0) continue;
        rank_distance_[giver] = rank_distance_[rank] + 1;
        queue_.push_back(giver);
      }
    }
  }
  return any;
}

/// Pushes the surplus of a rank along shortest paths while there are any left to try.
void ShareSolver::PushFrom(int rank) {
  path_.clear();
  int32_t at = rank;
  while (surplus_[rank] > 0) {
    if (surplus_[at] < 0) {
      PushAlongPath(rank, at);
      path_.clear();
      at = rank;
    } else if (StepFrom(at)) {
      at = link_rank_[path_.back()];
    } else {
      rank_distance_[at] = -1;  // a dead end
      if (path_.empty()) return;
      path_.resize(path_.size() - 2);
      at = path_.empty() ? rank : link_rank_[path_.back()];
    }
  }
}

/// Extends the path from a rank by the next expert and taker that are one hop nearer to room.
bool ShareSolver::StepFrom(int rank) {
  if (rank_distance_[rank] <= 0) return false;
  for (int32_t& link = rank_next_[rank]; link < rank_links_[rank + 1]; ++link) {
    const int32_t expert = link_expert_[link];
    if (flow_[link] == 0 || expert_distance_[expert] != rank_distance_[rank] - 1) continue;
    if (!FindTaker(expert)) continue;
    path_.push_back(link);
    path_.push_back(expert_links_[expert_next_[expert]]);
    return true;
  }
  return false;
}

bool ShareSolver::FindTaker(int expert) {
  const int32_t end = expert_begin_[expert] + num_ranks_of_[expert];
  for (int32_t& i = expert_next_[expert]; i < end; ++i) {
    const int32_t rank = link_rank_[expert_links_[i]];
    if (rank_part_[rank] != expert_part_[expert]) continue;
    if (rank_distance_[rank] == expert_distance_[expert]) return true;
  }
  return false;
}

void ShareSolver::PushAlongPath(int from, int to) {
  int64_t amount = std::min(surplus_[from], -surplus_[to]);
  for (size_t i = 0; i < path_.size(); i += 2) amount = std::min(amount, flow_[path_[i]]);
  for (size_t i = 0; i < path_.size(); i += 2) {
    flow_[path_[i]] -= amount;
    flow_[path_[i + 1]] += amount;
  }
  surplus_[from] -= amount;
  surplus_[to] += amount;
  load_[from] -= amount;
  load_[to] += amount;
}

/// Takes the ranks and experts without a distance out of a part, into one of their own, which is
/// the first of the result.
std::pair<ShareSolver::Part, ShareSolver::Part> ShareSolver::Split(const Part& part) {
  const int32_t number = num_parts_++;
  const auto split = [&](std::vector<int32_t>& list, int32_t begin, int32_t end,
                         const std::vector<int32_t>& distance, std::vector<int32_t>& part_of) {
    queue_.clear();
    int32_t cool_end = begin;
    for (int32_t i = begin; i < end; ++i) {
      const int32_t id = list[i];
      if (distance[id] >= 0) {
        list[cool_end++] = id;
      } else {
        part_of[id] = number;
        queue_.push_back(id);
      }
    }
    std::copy(queue_.begin(), queue_.end(), list.begin() + cool_end);
    return cool_end;
  };
  const int32_t ranks_mid =
      split(ranks_, part.ranks_begin, part.ranks_end, rank_distance_, rank_part_);
  const int32_t experts_mid =
      split(experts_, part.experts_begin, part.experts_end, expert_distance_, expert_part_);
  return {{ranks_mid, part.ranks_end, experts_mid, part.experts_end},
          {part.ranks_begin, ranks_mid, part.experts_begin, experts_mid}};
}

double ShareSolver::WriteShares(std::span<const double> expert_loads,
                                std::span<const int32_t> slot_to_expert, const Topology& topology,
                                std::span<double> shares) {
  double peak = 0.0;
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    rank_loads_[rank] = 0.0;
    const int begin = topology.first_slot_of_rank(rank);
    for (int slot = begin; slot < begin + topology.slots_per_rank(); ++slot) {
      const int32_t expert = slot_to_expert[slot];
      const int32_t link = slot_link_[slot];
      if (expert == kNoExpert) {
        shares[slot] = 0.0;
        continue;
      }
      shares[slot] = link < 0 ? 1.0 / num_slots_of_[expert]
                              : static_cast<double>(flow_[link]) /
                                    static_cast<double>(units_[expert]) / link_slots_[link];
      rank_loads_[rank] += expert_loads[expert] * shares[slot];
    }
    if (rank_loads_[rank] > 0.0) peak = std::max(peak, rank_loads_[rank] / speed_[rank]);
  }
  bottleneck_.clear();
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    if (peak > 0.0 && rank_loads_[rank] >= peak * kAtMaximum * speed_[rank]) {
      if (speed_[rank] > 0.0) bottleneck_.push_back(rank);
    }
  }
  return peak;
}

}  // namespace steelyard
