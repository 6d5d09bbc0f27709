#include "plan/flashlb_order.h"

#include <numeric>

#include "steelyard/base/check.h"

namespace steelyard {

void FlashlbOrder::SortDescending(std::span<const double> values, std::span<int32_t> order) {
  STEELYARD_CHECK_EQ(values.size(), order.size());
  values_ = values;
  order_ = order;
  std::iota(order.begin(), order.end(), 0);
  // What is put off is no smaller than what is sorted first, so its number stays below the bits of
  // the size.
  size_t num_put_off = 0;
  put_off_[num_put_off++] = {0, static_cast<int>(order.size()) - 1};
  while (num_put_off > 0) {
    auto [low, high] = put_off_[--num_put_off];
    while (high - low >= kSmall) {
      const int middle = Partition({low, high});
      if (high - middle > middle - low) {
        put_off_[num_put_off++] = {middle + 1, high};
        high = middle - 1;
      } else {
        put_off_[num_put_off++] = {low, middle - 1};
        low = middle + 1;
      }
    }
    InsertEach({low, high});
  }
}

/// Puts the pivot where it belongs and returns that place.
int FlashlbOrder::Partition(Part part) {
  const auto [low, high] = part;
  int32_t* order = order_.data();
  const int middle = low + (high - low) / 2;
  if (Before(order[middle], order[low])) std::swap(order[middle], order[low]);
  if (Before(order[high], order[middle])) std::swap(order[high], order[middle]);
  if (Before(order[middle], order[low])) std::swap(order[middle], order[low]);
  const int32_t pivot = order[middle];
  std::swap(order[middle], order[high]);
  int left = low;
  int right = high - 1;
  while (true) {
    while (left < high && Before(order[left], pivot)) ++left;
    while (right >= low && Before(pivot, order[right])) --right;
    if (left >= right) break;
    std::swap(order[left++], order[right--]);
  }
  std::swap(order[left], order[high]);
  return left;
}

void FlashlbOrder::InsertEach(Part part) {
  for (int i = part.first + 1; i <= part.second; ++i) {
    const int32_t index = order_[i];
    int hole = i;
    for (; hole > part.first && Before(index, order_[hole - 1]); --hole) {
      order_[hole] = order_[hole - 1];
    }
    order_[hole] = index;
  }
}

}  // namespace steelyard
