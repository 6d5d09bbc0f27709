// The sort that decides ties in the `flashlb` policy, written out so that no library decides them.
//
// The reference sorts with a quicksort that is not stable, and copies of experts of equal load are
// placed in the order that it leaves them. Which of two equal values comes first follows from every
// comparison it makes: pivots that are the median of three, this partition, the larger part put off
// until the smaller one is sorted, insertion sort for small parts. A placement without ties does
// not depend on it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

namespace steelyard {

/// One object per worker; nothing allocates.
class FlashlbOrder {
 public:
  /// Writes the indices of `values` to `order` (of the same size), the largest value first.
  /// Requires: no NaN.
  void SortDescending(std::span<const double> values, std::span<int32_t> order);

 private:
  // Part of the order: it decides which comparisons are made.
  static constexpr int kSmall = 15;

  // Which two places the sort works between, both included.
  using Part = std::pair<int, int>;

  bool Before(int32_t a, int32_t b) const { return values_[a] > values_[b]; }
  int Partition(Part part);
  void InsertEach(Part part);

  std::span<const double> values_;
  std::span<int32_t> order_;
  std::array<Part, 32> put_off_;
};

}  // namespace steelyard
