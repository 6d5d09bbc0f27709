// SplitMix64: the same numbers from the same seed on every machine, which <random>'s distributions
// do not promise.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

namespace steelyard {

class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }

  /// Uniform over [0, bound), but for a bias below bound / 2^32. Requires: bound >= 1.
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>((Next() >> 32) * bound >> 32); }

  template <typename T>
  void Shuffle(std::span<T> items) {
    for (size_t n = items.size(); n > 1; --n) {
      std::swap(items[n - 1], items[Below(static_cast<uint32_t>(n))]);
    }
  }

 private:
  uint64_t state_;
};

}  // namespace steelyard
