// Ranks as threads of one process: the default transport, and the twin that most multi-rank tests
// use.
#pragma once

#include <memory>
#include <vector>

#include "steelyard/comm/communicator.h"

namespace steelyard {

/// Makes the ends of a group of `num_ranks`, one per rank. Each end may be handed to a thread of
/// its own; the group's memory lives as long as any end. Requires: num_ranks >= 1.
std::vector<std::unique_ptr<Communicator>> MakeInprocGroup(int num_ranks);

}  // namespace steelyard
