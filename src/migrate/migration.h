// A Migration is the difference of two placements, cut into rounds that can each be committed by
// itself.
//
// Pure: made on the worker from two placements, equal on every rank. A round is at most
// `staging_buffers` arrivals per rank, over all layers of the round together; after it every
// layer's table is a placement that holds I1 and I2. Slots of a rank are interchangeable, so the
// exchange of one layer splits into cycles that visit a rank once: one spare buffer per rank is
// enough.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// One expert that reaches a rank.
struct Arrival {
  int32_t layer = 0;
  int32_t rank = 0;  // receiver
  int32_t expert = 0;
  int32_t source_rank = 0;  // holds the expert before the round
};

/// One layer's table after a round.
struct LayerStep {
  int32_t layer = 0;
  std::vector<int32_t> slot_to_expert;  // [num_slots]
  std::vector<double> shares;           // [num_slots], empty for an even split
};

struct Round {
  std::vector<Arrival> arrivals;  // ordered by layer, rank, expert
  std::vector<LayerStep>
      steps;  // ordered by layer; a layer may change slots or shares with no arrival
};

struct Migration {
  std::vector<Round> rounds;
  int64_t num_arrivals = 0;
};

/// Cuts `from` -> `to` into rounds, those that lower the hottest rank most (under `loads`, the
/// window planned on) first. The last round of a layer brings exactly `to`'s slot order and shares;
/// tables in between split evenly and keep the slot of what stays. For each arrival the source is a
/// holder on the receiver's node where there is one, then the one with the least queued to send.
///
/// Of `limits`, those from rank to rank and across nodes are kept by the choice of sources and, for
/// its sake, of the order. An exchange for which that finds no way is left out, and its layer ends
/// on the way to `to`. The other limits hold where the plan keeps them.
/// Requires: one shape, every slot alive, no duplicates in either, staging_buffers >= 1.
Migration PlanMigration(const Placement& from, const Placement& to, const LoadWindow& loads,
                        int staging_buffers, const MoveLimits& limits = {});

}  // namespace steelyard
