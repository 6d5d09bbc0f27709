#include "balance/recorder.h"

#include "steelyard/base/check.h"

namespace steelyard {

void Recorder::Add(int bin_idx, Phase phase, int layer, std::span<const uint32_t> counts) {
  STEELYARD_CHECK_EQ(counts.size(), static_cast<size_t>(shape_.slots_per_rank));
  uint32_t* const row = counts_.data() + shape_.slot_row(bin_idx, static_cast<int>(phase), layer);
  int64_t* const loads = loads_.data() + size_t{1} * layer * shape_.slots_per_rank;
  for (size_t slot = 0; slot < counts.size(); ++slot) {
    row[slot] += counts[slot];
    loads[slot] += counts[slot];
  }
}

void Recorder::Fold(int layer, std::span<const int32_t> held) {
  for (int bin = 0; bin < shape_.num_bins; ++bin) {
    for (int phase = 0; phase < kNumPhases; ++phase) {
      uint32_t* const slots = counts_.data() + shape_.slot_row(bin, phase, layer);
      uint32_t* const experts = counts_.data() + shape_.expert_row(bin, phase, layer);
      for (int slot = 0; slot < shape_.slots_per_rank; ++slot) {
        experts[held[slot]] += slots[slot];
        slots[slot] = 0;
      }
    }
  }
}

}  // namespace steelyard
