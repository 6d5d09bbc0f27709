#include "balance/ballot.h"

#include <bit>

namespace steelyard {
namespace {

// Words of a vote. A pair (x, ~x) reduced to minima tells whether x was the same everywhere.
enum Word {
  kCycle,
  kCycleInverse,
  kRound,
  kRoundInverse,
  kReady,
  kDigest,
  kDigestInverse,
  kObjection
};

constexpr int64_t kRanksPerObjection = int64_t{1} << 32;

}  // namespace

std::string_view ObjectionText(Objection objection) {
  switch (objection) {
    case Objection::kPlanningStopped:
      return "two of its planning workers did not end when they were told to";
    case Objection::kPlanFailed:
      return "its plan failed";
    case Objection::kGatherLost:
      return "the loads of the window did not reach it";
    case Objection::kTransferFailed:
      return "its transfers failed";
    case Objection::kPlanLate:
      return "its plan was not ready in time";
    case Objection::kTransferLate:
      return "its transfers did not end in time";
    case Objection::kNone:
      return "none";
  }
  return "unknown";
}

VoteWords Ballot::Pack(int rank) const {
  VoteWords words{};
  const int64_t digest_word = std::bit_cast<int64_t>(digest);
  words[kCycle] = static_cast<int64_t>(cycle);
  words[kCycleInverse] = ~words[kCycle];
  words[kRound] = round;
  words[kRoundInverse] = ~words[kRound];
  words[kReady] = ready ? 1 : 0;
  words[kDigest] = digest_word;
  words[kDigestInverse] = ~digest_word;
  words[kObjection] = static_cast<int64_t>(objection) * kRanksPerObjection + rank;
  return words;
}

Verdict Verdict::Unpack(const VoteWords& words) {
  Verdict verdict;
  verdict.same_cycle_and_round =
      words[kCycle] == ~words[kCycleInverse] && words[kRound] == ~words[kRoundInverse];
  verdict.all_ready = words[kReady] == 1;
  verdict.digests_equal = words[kDigest] == ~words[kDigestInverse];
  verdict.objection = static_cast<Objection>(words[kObjection] / kRanksPerObjection);
  verdict.objecting_rank = static_cast<int>(words[kObjection] % kRanksPerObjection);
  return verdict;
}

}  // namespace steelyard
