#include "base/count_allocations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace steelyard {
namespace {

// Beyond the alignment of plain memory, so that it comes from the aligned forms.
struct alignas(128) Wide {
  std::byte bytes[128];
};

template <typename Body>
int64_t AllocationsOf(const Body& body) {
  const int64_t before = NumAllocationsOfThread();
  body();
  return NumAllocationsOfThread() - before;
}

// Called as functions: the compiler may leave out a `new` whose memory nobody uses.
TEST(CountAllocations, EveryFormOfNewCountsOnce) {
  const std::align_val_t wide{128};
  EXPECT_EQ(AllocationsOf([] { operator delete(operator new(5)); }), 1);
  EXPECT_EQ(AllocationsOf([] { operator delete[](operator new[](5)); }), 1);
  EXPECT_EQ(AllocationsOf([] { operator delete(operator new(5, std::nothrow)); }), 1);
  EXPECT_EQ(AllocationsOf([] { operator delete[](operator new[](5, std::nothrow)); }), 1);
  EXPECT_EQ(AllocationsOf([=] { operator delete(operator new(5, wide), wide); }), 1);
  EXPECT_EQ(AllocationsOf([=] { operator delete[](operator new[](5, wide), wide); }), 1);
  EXPECT_EQ(AllocationsOf([=] { operator delete(operator new(5, wide, std::nothrow), wide); }), 1);
  EXPECT_EQ(AllocationsOf([=] { operator delete[](operator new[](5, wide, std::nothrow), wide); }),
            1);
}

TEST(CountAllocations, WhatTheLibraryAllocatesIsCounted) {
  std::vector<int> values(100);
  EXPECT_EQ(AllocationsOf([&] { values.reserve(1000); }), 1);
  EXPECT_EQ(AllocationsOf([&] { std::stable_sort(values.begin(), values.end()); }), 1);
  EXPECT_EQ(AllocationsOf([&] { std::sort(values.begin(), values.end()); }), 0);
}

TEST(CountAllocations, MemoryIsAlignedAsAsked) {
  for (int i = 0; i < 20; ++i) {
    const auto wide = std::make_unique<Wide[]>(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(wide.get()) % 128, 0U) << i;
  }
}

TEST(CountAllocations, AThreadSeesItsOwnAndTheProgramSeesAll) {
  const int64_t own = NumAllocationsOfThread();
  const int64_t all = NumAllocations();
  int64_t of_other = 0;
  std::thread([&] {
    of_other = AllocationsOf([] {
      for (int i = 0; i < 1000; ++i) operator delete(operator new(8));
    });
  }).join();
  EXPECT_EQ(of_other, 1000);
  EXPECT_LT(NumAllocationsOfThread() - own, 1000);
  EXPECT_GE(NumAllocations() - all, 1000);
}

}  // namespace
}  // namespace steelyard
