// What the ranks agree on: each rank fills in a Ballot, the reduction over ranks is a Verdict.
//
// A vote has no local outcome. What may be late or may fail on one rank is put *into* the vote, and
// only its result commits or abandons.
#pragma once

#include <cstdint>
#include <string_view>

#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"

namespace steelyard {

/// Why a rank wants the cycle abandoned; of several ranks' reasons the lowest is the one that is
/// told.
enum class Objection : uint8_t {
  kPlanningStopped,  // two workers of a rank were abandoned
  kPlanFailed,
  kGatherLost,
  kTransferFailed,
  kPlanLate,
  kTransferLate,
  kNone,
};
std::string_view ObjectionText(Objection objection);

struct Ballot {
  uint64_t cycle = 0;
  bool ready = false;   // this rank's plan is made, or its part of the round is complete
  uint64_t digest = 0;  // of the plan; looked at only when all are ready
  int32_t round = -1;   // -1 while planning
  Objection objection = Objection::kNone;

  VoteWords Pack(int rank) const;
};

struct Verdict {
  bool same_cycle_and_round = false;
  bool all_ready = false;
  bool digests_equal = false;
  Objection objection = Objection::kNone;
  int objecting_rank = -1;

  static Verdict Unpack(const VoteWords& words);
};

}  // namespace steelyard
