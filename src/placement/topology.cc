#include "steelyard/placement/topology.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>

namespace steelyard {

Result<Topology> Topology::Create(int num_ranks, int slots_per_rank, int num_nodes) {
  if (num_ranks < 1) {
    return InvalidArgument(fmt::format("num_ranks is {}, but at least 1 is needed", num_ranks));
  }
  if (slots_per_rank < 1) {
    return InvalidArgument(
        fmt::format("slots_per_rank is {}, but at least 1 is needed", slots_per_rank));
  }
  if (num_nodes < 1) {
    return InvalidArgument(fmt::format("num_nodes is {}, but at least 1 is needed", num_nodes));
  }
  if (num_ranks % num_nodes != 0) {
    return InvalidArgument(
        fmt::format("{} ranks cannot be dealt evenly to {} nodes", num_ranks, num_nodes));
  }
  if (int64_t{num_ranks} * slots_per_rank > std::numeric_limits<int>::max()) {
    return InvalidArgument(
        fmt::format("{} ranks x {} slots are too many to number", num_ranks, slots_per_rank));
  }
  return Topology(num_ranks, slots_per_rank, num_nodes);
}

std::string Topology::ToString() const {
  return fmt::format("{} rank{} x {} slot{} on {} node{}", num_ranks_, num_ranks_ == 1 ? "" : "s",
                     slots_per_rank_, slots_per_rank_ == 1 ? "" : "s", num_nodes_,
                     num_nodes_ == 1 ? "" : "s");
}

}  // namespace steelyard
