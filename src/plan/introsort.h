// The sort that decides ties in the `deepseek` policy, written out so that no standard library
// decides them.
//
// PyTorch sorts on the CPU without asking for stability, and ends in libstdc++'s std::sort over
// (value, index) pairs that compares values only. Which of two equal values comes first then
// follows from the algorithm's every comparison: introsort (Musser 1997) with this pivot, this
// partition, this cut-over to insertion sort and this heap sort when the recursion grows too deep.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace steelyard {

struct SortItem {
  float value;
  int32_t index;
};

/// Sorts by `value`, descending, with ties in the order that g++'s std::sort with "greater" leaves
/// them. Requires: no NaN.
class Introsort {
 public:
  static void SortDescending(std::span<SortItem> items);

  /// The same, but runs of more than 16 items nested `max_depth` partitions deep are left to heap
  /// sort; for tests, which thereby know that an input reaches it.
  static void SortDescending(std::span<SortItem> items, int max_depth);

 private:
  // Both are part of the order: they decide which comparisons are made.
  static constexpr size_t kSmall = 16;
  static constexpr int kDepthPerBit = 2;

  static bool Before(const SortItem& a, const SortItem& b) { return a.value > b.value; }

  static void SplitUntilSmall(std::span<SortItem> items, int depth_left);
  static size_t Partition(std::span<SortItem> items);
  static void MoveMedianToFront(std::span<SortItem> items);
  static void HeapSort(std::span<SortItem> items);
  static void SiftDownThenUp(std::span<SortItem> heap, size_t hole, SortItem item);
  static void InsertEach(std::span<SortItem> items);
};

}  // namespace steelyard
