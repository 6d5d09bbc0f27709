// A script of what goes wrong at one rank's end of a group (comm/fault.h), written out so that a
// failing test can be read.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "steelyard/comm/communicator.h"

namespace steelyard {

/// What happens to some of the slices that a rank sends. The first fault of a plan that matches a
/// slice decides; -1 matches all.
struct SliceFault {
  enum class Kind {
    kLose,       // never arrives
    kCorrupt,    // one byte of a copy of it is flipped, at a place that the plan's seed decides
    kTruncate,   // only the first half of it arrives, and says so
    kDuplicate,  // arrives twice
    kDelay,  // its bytes are captured when it is sent and arrive later, as on a network: Cancel()
             // does not stop them
  };
  static constexpr int kNumKinds = 5;
  static constexpr int kUntilReleased = -1;

  Kind kind = Kind::kLose;
  int64_t cycle = -1;
  int32_t layer = -1;
  int32_t round = -1;
  int32_t expert = -1;
  int dst_rank = -1;
  int every = 1;  // of the slices that match, every so many-th
  int64_t at_most = std::numeric_limits<int64_t>::max();  // times
  int delay_polls =
      kUntilReleased;  // kDelay: the receiver's so many-th Poll() from then on brings it
};

/// Ids or indices from `first` to `last`, both included; none by default.
struct IdRange {
  uint64_t first = 1;
  uint64_t last = 0;

  static IdRange From(uint64_t first) { return {first, std::numeric_limits<uint64_t>::max()}; }
  static IdRange Only(uint64_t id) { return {id, id}; }
  bool Contains(uint64_t id) const { return first <= id && id <= last; }
};

/// The faults of one rank.
struct FaultPlan {
  uint64_t seed = 0;
  std::vector<SliceFault> slices;

  /// Votes and gather parts that this rank starts and nobody hears of. Its own calls behave as on a
  /// network: a test says no, and a wait lasts until the deadline or until the group breaks.
  IdRange lose_votes;
  IdRange lose_gathers;

  /// Votes and gather parts that reach the group when this rank has begun `delay_exchanges` further
  /// exchanges, or waits for them.
  IdRange delay_votes;
  IdRange delay_gathers;
  int delay_exchanges = 1;

  /// The exchanges, counted from 0, at which this rank never shows up. It waits as above.
  IdRange miss_exchanges;

  /// Called on the rank's thread before every exchange: a rank is as slow as this makes it.
  std::function<void(uint64_t exchange_idx)> before_exchange;
};

}  // namespace steelyard
