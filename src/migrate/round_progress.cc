#include "migrate/round_progress.h"

#include <map>

namespace steelyard {

void ListWork(const Round& round, int rank, int64_t first_index, std::vector<Incoming>& incoming,
              std::vector<Outgoing>& outgoing) {
  incoming.clear();
  outgoing.clear();
  std::map<int32_t, int32_t> arrivals_of_rank;
  int64_t index = first_index;
  for (const Arrival& arrival : round.arrivals) {
    const int32_t staging_idx = arrivals_of_rank[arrival.rank]++;
    if (arrival.rank == rank) {
      Incoming& in = incoming.emplace_back();
      in.arrival = arrival;
      in.index_in_cycle = index;
    }
    if (arrival.source_rank == rank) {
      outgoing.push_back({arrival, staging_idx, index});
    }
    ++index;
  }
}

}  // namespace steelyard
