// The spare buffers of one rank: taken for arrivals, given back by flips, held in quarantine after
// an abandoned cycle.
//
// A buffer in which an abandoned cycle may still write is nobody's until the channel says that the
// cycle is quiet at this end.
#pragma once

#include <cstdint>
#include <vector>

namespace steelyard {

class StagingPool {
 public:
  /// All memory is taken here: no list ever holds more than `num_spare` + `num_slots` buffers.
  StagingPool(int first_spare, int num_spare, int num_slots) {
    free_.reserve(num_spare + num_slots);
    quarantined_.reserve(num_spare + num_slots);
    for (int i = num_spare - 1; i >= 0; --i) {
      free_.push_back(first_spare + i);
    }
  }

  int num_free() const { return static_cast<int>(free_.size()); }
  int num_quarantined() const { return static_cast<int>(quarantined_.size()); }

  /// -1 when there is none.
  int32_t Take() {
    if (free_.empty()) {
      return -1;
    }
    const int32_t buffer = free_.back();
    free_.pop_back();
    return buffer;
  }
  void Give(int32_t buffer) { free_.push_back(buffer); }
  void Quarantine(int32_t buffer, uint64_t cycle) { quarantined_.push_back({buffer, cycle}); }

  /// Frees the quarantined buffers of every cycle for which quiet(cycle) holds.
  template <typename Quiet>
  void Release(const Quiet& quiet) {
    size_t kept = 0;
    for (const Held& held : quarantined_) {
      if (quiet(held.cycle)) {
        free_.push_back(held.buffer);
      } else {
        quarantined_[kept++] = held;
      }
    }
    quarantined_.resize(kept);
  }

 private:
  struct Held {
    int32_t buffer = -1;
    uint64_t cycle = 0;
  };

  std::vector<int32_t> free_;
  std::vector<Held> quarantined_;
};

}  // namespace steelyard
