// Which slot of its rank each expert of a layer gets, where the order is free.
#pragma once

#include <cstdint>
#include <span>

namespace steelyard {

/// Writes `experts` to `slots` so that what stays on a rank stays in its slot: each slot of
/// `before` in order keeps its expert where its rank's `experts` still have one of the kind, the
/// first of them; the others fill the rank's remaining slots, both in order. Used entries of
/// `experts` become kNoExpert. All three are [num_ranks, slots_per_rank].
void KeepSlots(int slots_per_rank, std::span<const int32_t> before, std::span<int32_t> experts,
               std::span<int32_t> slots);

}  // namespace steelyard
