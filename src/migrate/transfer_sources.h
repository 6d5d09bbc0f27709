// Which rank sends each arrival of a migration.
//
// An arrival may come from any rank that has the expert before its round. Limits bind the transfers
// of a layer over all its rounds. A plan only promises that senders within the limits are to be
// found among the ranks in force: finding them is an assignment of each receiver's arrivals to
// sources.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "migrate/migration.h"
#include "migrate/round_packer.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Whether `limits` say anything about who sends.
bool BindSources(const MoveLimits& limits);

/// Sets the source of every arrival: a holder on the receiver's node where there is one, then the
/// one with the least queued to send in the round, then the lowest rank, all as far as `limits`
/// allow. `rounds` begin at `from`. Returns the arrivals that nobody may send.
std::vector<Arrival> ChooseSources(const Placement& from, const MoveLimits& limits,
                                   std::vector<Round>& rounds);

/// For each cycle, the cycles that should come no later than it: they take from a rank what it
/// takes away, so that the senders a plan reckoned with still have what they are to send.
std::vector<std::vector<size_t>> FindCyclesBefore(const Placement& from, const MoveLimits& limits,
                                                  std::span<const RankedCycle> cycles);

}  // namespace steelyard
