#include "plan/keep_slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

std::vector<int32_t> Keep(const std::vector<int32_t>& before, std::vector<int32_t> experts,
                          int num_ranks = 1) {
  std::vector<int32_t> slots(before.size(), 99);
  KeepSlots(static_cast<int>(before.size()) / num_ranks, before, experts, slots);
  return slots;
}

TEST(KeepSlots, WhatStaysKeepsItsSlotAndTheOthersFillUpInOrder) {
  EXPECT_EQ(Keep({5, 6, 7, 8}, {9, 8, 4, 6}), (std::vector<int32_t>{9, 6, 4, 8}));
}

TEST(KeepSlots, EveryRankKeepsItsOwn) {
  EXPECT_EQ(Keep({5, 6, 7, 8}, {6, 7, 8, 5}, 2), (std::vector<int32_t>{7, 6, 5, 8}));
}

TEST(KeepSlots, ADuplicateKeepsAsManySlotsAsThereAreExpertsOfItsKind) {
  EXPECT_EQ(Keep({5, 5, 5}, {1, 5, 5}), (std::vector<int32_t>{5, 5, 1}));
  EXPECT_EQ(Keep({1, 5, 2}, {5, 5, 5}), (std::vector<int32_t>{5, 5, 5}));
}

TEST(KeepSlots, LosesNothingAndMovesNoMoreThanItMust) {
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::vector<int32_t> before(1 + random() % 8);
    std::vector<int32_t> experts(before.size());
    for (size_t slot = 0; slot < before.size(); ++slot) {
      before[slot] = static_cast<int32_t>(random() % 6);
      experts[slot] = static_cast<int32_t>(random() % 6);
    }
    std::vector<int32_t> slots = Keep(before, experts);
    std::ptrdiff_t num_kept = 0;
    std::ptrdiff_t num_common = 0;
    for (size_t slot = 0; slot < before.size(); ++slot) {
      num_kept += slots[slot] == before[slot] ? 1 : 0;
    }
    for (int32_t expert = 0; expert < 6; ++expert) {
      num_common += std::min(std::count(before.begin(), before.end(), expert),
                             std::count(experts.begin(), experts.end(), expert));
    }
    ASSERT_EQ(num_kept, num_common);
    std::sort(slots.begin(), slots.end());
    std::sort(experts.begin(), experts.end());
    ASSERT_EQ(slots, experts);
  }
}

}  // namespace
}  // namespace steelyard
