#include "migrate/exchange_cycles.h"

#include <algorithm>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

struct Edge {
  int32_t target = 0;
  int32_t expert = 0;
};

std::vector<int32_t> SortedSlots(const Topology& topology, std::span<const int32_t> slots,
                                 int rank) {
  const auto first = slots.begin() + topology.first_slot_of_rank(rank);
  std::vector<int32_t> sorted(first, first + topology.slots_per_rank());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// Ranks that each expert leaves and reaches, ascending, [num_experts].
struct Changes {
  std::vector<std::vector<int32_t>> leaves;
  std::vector<std::vector<int32_t>> arrives;
};

Changes FindChanges(const Topology& topology, int num_experts, std::span<const int32_t> from,
                    std::span<const int32_t> to) {
  Changes changes{std::vector<std::vector<int32_t>>(num_experts),
                  std::vector<std::vector<int32_t>>(num_experts)};
  for (int rank = 0; rank < topology.num_ranks(); ++rank) {
    const std::vector<int32_t> before = SortedSlots(topology, from, rank);
    const std::vector<int32_t> after = SortedSlots(topology, to, rank);
    std::vector<int32_t> only;
    std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                        std::back_inserter(only));
    for (const int32_t expert : only) {
      changes.leaves[expert].push_back(rank);
    }
    only.clear();
    std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                        std::back_inserter(only));
    for (const int32_t expert : only) {
      changes.arrives[expert].push_back(rank);
    }
  }
  return changes;
}

// Edges out of each node, [num_ranks + 1]; the last node is the void. Consumed from the back.
std::vector<std::vector<Edge>> MakeEdges(const Topology& topology, const Changes& changes) {
  const int num_ranks = topology.num_ranks();
  std::vector<std::vector<Edge>> edges(num_ranks + 1);
  for (int32_t expert = static_cast<int32_t>(changes.leaves.size()) - 1; expert >= 0; --expert) {
    const std::vector<int32_t>& leaves = changes.leaves[expert];
    const std::vector<int32_t>& arrives = changes.arrives[expert];
    for (size_t i = 0; i < std::max(leaves.size(), arrives.size()); ++i) {
      const int32_t source = i < leaves.size() ? leaves[i] : num_ranks;
      const int32_t target = i < arrives.size() ? arrives[i] : num_ranks;
      edges[source].push_back({target, expert});
    }
  }
  return edges;
}

// The walk came back to a node that is on it: what lies between is a simple cycle. Edges in order;
// each edge's expert leaves the node before it and arrives at its target.
ExchangeCycle MakeCycle(std::span<const Edge> edges, int num_ranks) {
  ExchangeCycle cycle;
  for (size_t i = 0; i < edges.size(); ++i) {
    const Edge& in = edges[i];
    const Edge& out = edges[(i + 1) % edges.size()];
    if (in.target != num_ranks) {
      cycle.changes.push_back({in.target, in.expert, out.expert});
    }
  }
  std::sort(cycle.changes.begin(), cycle.changes.end(),
            [](const SlotChange& a, const SlotChange& b) { return a.rank < b.rank; });
  return cycle;
}

}  // namespace

std::vector<ExchangeCycle> SplitIntoCycles(const Topology& topology, int num_experts,
                                           std::span<const int32_t> from,
                                           std::span<const int32_t> to) {
  const int num_ranks = topology.num_ranks();
  std::vector<std::vector<Edge>> edges =
      MakeEdges(topology, FindChanges(topology, num_experts, from, to));
  std::vector<ExchangeCycle> cycles;
  std::vector<int> place_on_walk(num_ranks + 1,
                                 -1);  // index into `walk` of the edge that leaves the node
  std::vector<Edge> walk;
  for (int start = 0; start <= num_ranks; ++start) {
    while (!edges[start].empty()) {
      int node = start;
      walk.clear();
      while (place_on_walk[node] < 0) {
        STEELYARD_CHECK(!edges[node].empty());
        place_on_walk[node] = static_cast<int>(walk.size());
        walk.push_back(edges[node].back());
        edges[node].pop_back();
        node = walk.back().target;
      }
      // The walk may have begun before the cycle: the edges of that part go back where they came
      // from.
      const size_t first = static_cast<size_t>(place_on_walk[node]);
      cycles.push_back(MakeCycle({walk.data() + first, walk.size() - first}, num_ranks));
      int walked = start;
      for (size_t i = 0; i < walk.size(); ++i) {
        place_on_walk[walked] = -1;
        if (i < first) {
          edges[walked].push_back(walk[i]);
        }
        walked = walk[i].target;
      }
    }
  }
  return cycles;
}

}  // namespace steelyard
