// Compared with this compiler's std::sort, which is libstdc++'s: the order that PyTorch on Linux
// gives.
#include "plan/introsort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

std::vector<SortItem> Items(const std::vector<float>& values) {
  std::vector<SortItem> items;
  for (size_t i = 0; i < values.size(); ++i) {
    items.push_back({values[i], static_cast<int32_t>(i)});
  }
  return items;
}

std::vector<int32_t> Order(const std::vector<SortItem>& items) {
  std::vector<int32_t> order;
  for (const SortItem& item : items) {
    order.push_back(item.index);
  }
  return order;
}

std::vector<int32_t> OurOrder(const std::vector<float>& values) {
  std::vector<SortItem> items = Items(values);
  Introsort::SortDescending(items);
  return Order(items);
}

std::vector<int32_t> LibraryOrder(const std::vector<float>& values) {
  std::vector<SortItem> items = Items(values);
  std::sort(items.begin(), items.end(),
            [](const SortItem& a, const SortItem& b) { return a.value > b.value; });
  return Order(items);
}

std::vector<int32_t> OrderAtDepth(const std::vector<float>& values, int max_depth) {
  std::vector<SortItem> items = Items(values);
  Introsort::SortDescending(items, max_depth);
  return Order(items);
}

std::vector<int32_t> LibraryHeapOrder(const std::vector<float>& values) {
  std::vector<SortItem> items = Items(values);
  std::partial_sort(items.begin(), items.end(), items.end(),
                    [](const SortItem& a, const SortItem& b) { return a.value > b.value; });
  return Order(items);
}

std::vector<float> RandomValues(std::mt19937& random, size_t size, int num_distinct) {
  std::vector<float> values(size);
  for (float& value : values) {
    value = static_cast<float>(random() % num_distinct);
  }
  return values;
}

/// Values against which every partition is as lopsided as it can be (McIlroy 1999): they are chosen
/// while the library sorts, each comparison being answered so that the pivot turns out to be nearly
/// the first in order.
class KillerInput {
 public:
  explicit KillerInput(int size) : rank_(size, kUndecided) {
    std::vector<int32_t> items(size);
    for (int i = 0; i < size; ++i) {
      items[i] = i;
    }
    std::sort(items.begin(), items.end(), [this](int32_t a, int32_t b) { return Before(a, b); });
  }

  /// `num_ties` neighbours in order share a value.
  std::vector<float> Values(int num_ties) const {
    std::vector<float> values;
    for (int rank : rank_) {
      const int known = std::min(rank, next_);
      values.push_back(static_cast<float>(-(known / num_ties)));
    }
    return values;
  }

 private:
  static constexpr int kUndecided = 1 << 20;

  bool Before(int32_t a, int32_t b) {
    if (rank_[a] == kUndecided && rank_[b] == kUndecided) {
      rank_[a == candidate_ ? a : b] = next_++;
    }
    if (rank_[a] == kUndecided) {
      candidate_ = a;
    } else if (rank_[b] == kUndecided) {
      candidate_ = b;
    }
    return rank_[a] < rank_[b];
  }

  std::vector<int> rank_;
  int next_ = 0;
  int32_t candidate_ = 0;
};

TEST(Introsort, SmallInputsKeepTheOrderOfTies) {
  EXPECT_EQ(OurOrder({1, 3, 2, 3, 1}), (std::vector<int32_t>{1, 3, 2, 0, 4}));
}

TEST(Introsort, SeventeenEqualValuesDoNotKeepTheirOrder) {
  const std::vector<float> equal(17, 1.0F);
  const std::vector<int32_t> order = OurOrder(equal);
  EXPECT_EQ(order, LibraryOrder(equal));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
}

TEST(Introsort, EverySizeOrdersTiesAsTheLibraryDoes) {
  for (int seed = 0; seed < Scaled(4); ++seed) {
    std::mt19937 random(seed);
    for (size_t size = 0; size <= 2048; size += (size < 64 ? 1 : 1 + random() % 40)) {
      for (int num_distinct : {1, 2, 7, static_cast<int>(size) / 2 + 1, 1 << 20}) {
        const std::vector<float> values = RandomValues(random, size, num_distinct);
        ASSERT_EQ(OurOrder(values), LibraryOrder(values))
            << "seed " << seed << ", size " << size << ", distinct values " << num_distinct;
      }
    }
  }
}

TEST(Introsort, HeapSortOrdersTiesAsTheLibraryDoes) {
  for (int seed = 0; seed < Scaled(20); ++seed) {
    std::mt19937 random(seed);
    for (size_t size = 17; size < 600; size += 1 + random() % 8) {
      const std::vector<float> values = RandomValues(random, size, 1 + random() % 50);
      ASSERT_EQ(OrderAtDepth(values, 0), LibraryHeapOrder(values))
          << "seed " << seed << ", size " << size;
    }
  }
}

TEST(Introsort, InputsThatReachTheHeapSortOrderTiesAsTheLibraryDoes) {
  constexpr int kNoLimit = 1 << 30;
  int num_reached = 0;
  for (int size : {64, 100, 257, 512, 1024, 2048}) {
    const KillerInput killer(size);
    for (int num_ties : {1, 2, 3}) {
      const std::vector<float> values = killer.Values(num_ties);
      ASSERT_EQ(OurOrder(values), LibraryOrder(values)) << "size " << size << ", ties " << num_ties;
      num_reached += OurOrder(values) != OrderAtDepth(values, kNoLimit) ? 1 : 0;
    }
  }
  EXPECT_GE(num_reached, 5);
}

}  // namespace
}  // namespace steelyard
