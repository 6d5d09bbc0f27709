// The tables in force of every layer on one rank: what a flip replaces.
//
// Owned by the mover's side and changed only between two steps, on the thread that drives the step;
// what is read during a step is therefore one version.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steelyard/placement/placement.h"
#include "steelyard/placement/routing_table.h"

namespace steelyard {

/// One layer's tables as a host reads them in a step.
struct LayerTables {
  const RoutingTable* routing = nullptr;    // logical expert -> slots with shares
  std::span<const int32_t> slot_to_expert;  // [num_slots]
  std::span<const int32_t> slot_to_buffer;  // [slots_per_rank] of this rank, into the layer's pool
  int64_t version = 0;  // rises by one with every flip; equal on all ranks in a step (I4)
};

}  // namespace steelyard
