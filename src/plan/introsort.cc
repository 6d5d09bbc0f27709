#include "plan/introsort.h"

#include <algorithm>

namespace steelyard {

void Introsort::SortDescending(std::span<SortItem> items) {
  if (items.size() < 2) {
    return;
  }
  const int floor_log2 = std::bit_width(items.size()) - 1;
  SortDescending(items, kDepthPerBit * floor_log2);
}

void Introsort::SortDescending(std::span<SortItem> items, int max_depth) {
  SplitUntilSmall(items, max_depth);
  InsertEach(items);
}

void Introsort::SplitUntilSmall(std::span<SortItem> items, int depth_left) {
  while (items.size() > kSmall) {
    if (depth_left == 0) {
      HeapSort(items);
      return;
    }
    --depth_left;
    const size_t cut = Partition(items);
    SplitUntilSmall(items.subspan(cut), depth_left);
    items = items.first(cut);
  }
}

/// Hoare's, around the item at the front, which stays there. Neither scan checks for the ends: the
/// median of three leaves an item on either side that stops it.
size_t Introsort::Partition(std::span<SortItem> items) {
  MoveMedianToFront(items);
  const SortItem pivot = items[0];
  size_t left = 1;
  size_t right = items.size();
  for (;;) {
    while (Before(items[left], pivot)) {
      ++left;
    }
    do {
      --right;
    } while (Before(pivot, items[right]));
    if (left >= right) {
      return left;
    }
    std::swap(items[left], items[right]);
    ++left;
  }
}

void Introsort::MoveMedianToFront(std::span<SortItem> items) {
  const size_t second = 1;
  const size_t middle = items.size() / 2;
  const size_t last = items.size() - 1;
  size_t median;
  if (Before(items[second], items[middle])) {
    if (Before(items[middle], items[last])) {
      median = middle;
    } else {
      median = Before(items[second], items[last]) ? last : second;
    }
  } else if (Before(items[second], items[last])) {
    median = second;
  } else {
    median = Before(items[middle], items[last]) ? last : middle;
  }
  std::swap(items[0], items[median]);
}

/// The item that sorts last is on top, and goes behind the shrinking heap.
void Introsort::HeapSort(std::span<SortItem> items) {
  for (size_t parent = items.size() / 2; parent-- > 0;) {
    SiftDownThenUp(items, parent, items[parent]);
  }
  for (size_t size = items.size() - 1; size > 0; --size) {
    const SortItem item = items[size];
    items[size] = items[0];
    SiftDownThenUp(items.first(size), 0, item);
  }
}

/// The hole goes down to a leaf along the larger children, whatever `item` is; then `item` comes up
/// from there.
void Introsort::SiftDownThenUp(std::span<SortItem> heap, size_t hole, SortItem item) {
  const size_t top = hole;
  for (size_t child = 2 * hole + 2; child <= heap.size(); child = 2 * hole + 2) {
    if (child == heap.size() || Before(heap[child], heap[child - 1])) {
      --child;
    }
    heap[hole] = heap[child];
    hole = child;
  }
  while (hole > top && Before(heap[(hole - 1) / 2], item)) {
    heap[hole] = heap[(hole - 1) / 2];
    hole = (hole - 1) / 2;
  }
  heap[hole] = item;
}

/// Every insertion sort that stops at an equal item ends in this order, guarded or not.
void Introsort::InsertEach(std::span<SortItem> items) {
  for (size_t i = 1; i < items.size(); ++i) {
    const SortItem item = items[i];
    size_t place = i;
    while (place > 0 && Before(item, items[place - 1])) {
      items[place] = items[place - 1];
      --place;
    }
    items[place] = item;
  }
}

}  // namespace steelyard
