// Ranks as threads, for the tests of this layer and of those above it.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/comm/inproc.h"

namespace steelyard {

/// Calls `Status body(End& end)` for every end on a thread of its own and returns what each came
/// to, by rank, once all have ended. A rank that fails breaks the group, so that no test hangs on
/// the others. The ends live on.
template <typename End, typename Body>
std::vector<Status> RunRanks(const std::vector<std::unique_ptr<End>>& ends, const Body& body) {
  std::vector<Status> statuses(ends.size());
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ends.size(); ++rank) {
    threads.emplace_back([&, rank] {
      statuses[rank] = body(*ends[rank]);
      if (!statuses[rank].ok()) ends[rank]->Abort(statuses[rank]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return statuses;
}

/// The same with a new in-process group.
template <typename Body>
std::vector<Status> RunRanks(int num_ranks, const Body& body) {
  return RunRanks(MakeInprocGroup(num_ranks), body);
}

}  // namespace steelyard
