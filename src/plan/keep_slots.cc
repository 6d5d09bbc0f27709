#include "plan/keep_slots.h"

#include <algorithm>

#include "steelyard/placement/placement.h"

namespace steelyard {

void KeepSlots(std::span<const int32_t> before, std::span<int32_t> experts,
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

}  // namespace steelyard
