#include "plan/keep_slots.h"

#include <algorithm>

#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

void KeepSlotsOfRank(std::span<const int32_t> before, std::span<int32_t> experts,
                     std::span<int32_t> slots) {
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    slots[slot] = kNoExpert;
    const auto stays = std::find(experts.begin(), experts.end(), before[slot]);
    if (stays != experts.end()) {
      slots[slot] = *stays;
      *stays = kNoExpert;
    }
  }
  size_t slot = 0;
  for (int32_t& expert : experts) {
    if (expert != kNoExpert) {
      slot = static_cast<size_t>(
          std::find(slots.begin() + static_cast<ptrdiff_t>(slot), slots.end(), kNoExpert) -
          slots.begin());
      slots[slot] = expert;
      expert = kNoExpert;
    }
  }
}

}  // namespace

void KeepSlots(int slots_per_rank, std::span<const int32_t> before, std::span<int32_t> experts,
               std::span<int32_t> slots) {
  const auto count = static_cast<size_t>(slots_per_rank);
  for (size_t first = 0; first < slots.size(); first += count) {
    KeepSlotsOfRank(before.subspan(first, count), experts.subspan(first, count),
                    slots.subspan(first, count));
  }
}

}  // namespace steelyard
