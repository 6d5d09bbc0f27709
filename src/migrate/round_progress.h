// What has come in of one rank's arrivals in the round whose slices are travelling.
#pragma once

#include <cstdint>
#include <vector>

#include "migrate/migration.h"

namespace steelyard {

/// One expert on its way to this rank.
struct Incoming {
  Arrival arrival;
  int pool = 0;
  int32_t buffer = -1;         // where it lands
  int64_t index_in_cycle = 0;  // counts arrivals of all ranks, to choose which are hashed
  uint64_t bundle_bytes = 0;
  uint64_t landed_bytes = 0;
  std::vector<bool> landed_slices;  // [slices of the bundle]; a slice that comes twice counts once
  bool done = false;                // all bytes are there and found to be right
};

/// One expert that this rank sends.
struct Outgoing {
  Arrival arrival;
  int32_t staging_idx = 0;  // which of the receiver's arrivals of the round it is
  int64_t index_in_cycle = 0;
};

/// Sorts a round by what `rank` has to do. `first_index` is the number of arrivals in the rounds
/// before it.
void ListWork(const Round& round, int rank, int64_t first_index, std::vector<Incoming>& incoming,
              std::vector<Outgoing>& outgoing);

}  // namespace steelyard
