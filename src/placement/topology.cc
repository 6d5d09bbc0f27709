#include "steelyard/placement/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace steelyard {
namespace {

// Ranks further apart are none of one group.
constexpr double kSlowest = 1e-6;
constexpr double kFastest = 1e6;

Status CheckCounts(const TopologySpec& spec) {
  if (spec.num_ranks < 1) {
    return InvalidArgument(
        fmt::format("num_ranks is {}, but at least 1 is needed", spec.num_ranks));
  }
  if (spec.slots_per_rank < 1) {
    return InvalidArgument(
        fmt::format("slots_per_rank is {}, but at least 1 is needed", spec.slots_per_rank));
  }
  if (spec.num_nodes < 1) {
    return InvalidArgument(
        fmt::format("num_nodes is {}, but at least 1 is needed", spec.num_nodes));
  }
  if (spec.num_ranks % spec.num_nodes != 0) {
    return InvalidArgument(
        fmt::format("{} ranks cannot be dealt evenly to {} nodes", spec.num_ranks, spec.num_nodes));
  }
  if (int64_t{spec.num_ranks} * spec.slots_per_rank > std::numeric_limits<int>::max()) {
    return InvalidArgument(fmt::format("{} ranks x {} slots are too many to number", spec.num_ranks,
                                       spec.slots_per_rank));
  }
  return Status::Ok();
}

Status CheckLength(const char* field, size_t length, int num_ranks) {
  if (length == 0 || length == static_cast<size_t>(num_ranks)) {
    return Status::Ok();
  }
  return InvalidArgument(fmt::format("{} has {} entries for {} ranks", field, length, num_ranks));
}

Status CheckSlotsOfRank(const TopologySpec& spec) {
  STEELYARD_RETURN_IF_ERROR(
      CheckLength("slots_of_rank", spec.slots_of_rank.size(), spec.num_ranks));
  for (size_t rank = 0; rank < spec.slots_of_rank.size(); ++rank) {
    const int slots = spec.slots_of_rank[rank];
    if (slots < 1 || slots > spec.slots_per_rank) {
      return InvalidArgument(
          fmt::format("slots_of_rank[{}] is {}, outside [1, slots_per_rank = {}]", rank, slots,
                      spec.slots_per_rank));
    }
  }
  if (!spec.slots_of_rank.empty() &&
      *std::max_element(spec.slots_of_rank.begin(), spec.slots_of_rank.end()) !=
          spec.slots_per_rank) {
    return InvalidArgument(
        fmt::format("slots_per_rank is {}, but no rank has as many slots", spec.slots_per_rank));
  }
  return Status::Ok();
}

Status CheckSpeeds(const TopologySpec& spec) {
  STEELYARD_RETURN_IF_ERROR(CheckLength("rank_speed", spec.rank_speed.size(), spec.num_ranks));
  for (size_t rank = 0; rank < spec.rank_speed.size(); ++rank) {
    const double speed = spec.rank_speed[rank];
    if (!(std::isfinite(speed) && speed > 0.0)) {
      return InvalidArgument(
          fmt::format("rank_speed[{}] is {}, but must be finite and above 0", rank, speed));
    }
    if (speed < kSlowest || speed > kFastest) {
      return InvalidArgument(
          fmt::format("rank_speed[{}] is {}, outside [{}, {}]", rank, speed, kSlowest, kFastest));
    }
  }
  return Status::Ok();
}

Status CheckDead(const TopologySpec& spec) {
  std::vector<int32_t> dead = spec.dead_ranks;
  std::sort(dead.begin(), dead.end());
  for (size_t i = 0; i < dead.size(); ++i) {
    if (dead[i] < 0 || dead[i] >= spec.num_ranks) {
      return InvalidArgument(
          fmt::format("dead rank {} is outside [0, {})", dead[i], spec.num_ranks));
    }
    if (i > 0 && dead[i] == dead[i - 1]) {
      return InvalidArgument(fmt::format("dead rank {} is named twice", dead[i]));
    }
  }
  if (dead.size() == static_cast<size_t>(spec.num_ranks)) {
    return InvalidArgument(fmt::format("all {} ranks are dead", spec.num_ranks));
  }
  return Status::Ok();
}

template <typename T>
bool AllAre(const std::vector<T>& values, T value) {
  return std::all_of(values.begin(), values.end(), [value](T v) { return v == value; });
}

}  // namespace

Result<Topology> Topology::Create(int num_ranks, int slots_per_rank, int num_nodes) {
  TopologySpec spec;
  spec.num_ranks = num_ranks;
  spec.slots_per_rank = slots_per_rank;
  spec.num_nodes = num_nodes;
  return Create(spec);
}

Result<Topology> Topology::Create(const TopologySpec& spec) {
  STEELYARD_RETURN_IF_ERROR(CheckCounts(spec));
  STEELYARD_RETURN_IF_ERROR(CheckSlotsOfRank(spec));
  STEELYARD_RETURN_IF_ERROR(CheckSpeeds(spec));
  STEELYARD_RETURN_IF_ERROR(CheckDead(spec));
  Topology topology;
  topology.num_ranks_ = spec.num_ranks;
  topology.slots_per_rank_ = spec.slots_per_rank;
  topology.num_nodes_ = spec.num_nodes;
  if (!AllAre(spec.slots_of_rank, spec.slots_per_rank)) {
    topology.slots_of_rank_ = spec.slots_of_rank;
  }
  if (!spec.rank_speed.empty() && !AllAre(spec.rank_speed, spec.rank_speed[0])) {
    topology.rank_speed_ = spec.rank_speed;
  }
  if (!topology.slots_of_rank_.empty() || !spec.dead_ranks.empty()) {
    topology.live_slots_ = topology.slots_of_rank_;
    topology.live_slots_.resize(spec.num_ranks, spec.slots_per_rank);
    for (const int32_t rank : spec.dead_ranks) {
      topology.live_slots_[rank] = 0;
    }
  }
  return topology;
}

int Topology::num_live_slots() const {
  return live_slots_.empty() ? num_slots()
                             : std::accumulate(live_slots_.begin(), live_slots_.end(), 0);
}

int Topology::num_live_ranks() const {
  return num_ranks_ - static_cast<int>(std::count(live_slots_.begin(), live_slots_.end(), 0));
}

double Topology::total_speed() const {
  double sum = 0.0;
  for (int rank = 0; rank < num_ranks_; ++rank) {
    sum += speed(rank);
  }
  return sum;
}

TopologySpec Topology::spec() const {
  TopologySpec spec;
  spec.num_ranks = num_ranks_;
  spec.slots_per_rank = slots_per_rank_;
  spec.num_nodes = num_nodes_;
  spec.slots_of_rank = slots_of_rank_;
  spec.rank_speed = rank_speed_;
  for (int rank = 0; rank < num_ranks_; ++rank) {
    if (is_dead(rank)) spec.dead_ranks.push_back(rank);
  }
  return spec;
}

std::string Topology::ToString() const {
  std::string text = fmt::format(
      "{} rank{} x {} slot{} on {} node{}", num_ranks_, num_ranks_ == 1 ? "" : "s", slots_per_rank_,
      slots_per_rank_ == 1 ? "" : "s", num_nodes_, num_nodes_ == 1 ? "" : "s");
  std::string more;
  const auto add = [&more](const std::string& item) { more += (more.empty() ? "" : ", ") + item; };
  if (num_live_ranks() < num_ranks_) {
    add(fmt::format("{} dead", num_ranks_ - num_live_ranks()));
  }
  if (!slots_of_rank_.empty()) {
    const auto [least, most] = std::minmax_element(slots_of_rank_.begin(), slots_of_rank_.end());
    add(fmt::format("{} to {} slots", *least, *most));
  }
  if (!rank_speed_.empty()) {
    const auto [least, most] = std::minmax_element(rank_speed_.begin(), rank_speed_.end());
    add(fmt::format("speeds {} to {}", *least, *most));
  }
  return more.empty() ? text : text + " (" + more + ")";
}

}  // namespace steelyard
