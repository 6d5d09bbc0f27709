// Which slot of a rank each of its experts gets, where the order is free.
#pragma once

#include <cstdint>
#include <span>

namespace steelyard {

/// Writes `experts` to `slots` so that what stays on a rank stays in its slot: each slot of
/// `before` in order keeps its expert where `experts` still has one of the kind, the first of them;
/// the others fill the remaining slots, both in order. Used entries of `experts` become kNoExpert.
/// All three are [slots_per_rank].
void KeepSlots(std::span<const int32_t> before, std::span<int32_t> experts,
               std::span<int32_t> slots);

}  // namespace steelyard
