#include "load/recency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(RecencyWeights, TheNewestBinWeighsOneAndEachOlderOneGammaTimesItsSuccessor) {
  EXPECT_THAT(RecencyWeights(4, 0.5), ElementsAre(0.125, 0.25, 0.5, 1.0));
  EXPECT_THAT(RecencyWeights(3, 1.0), ElementsAre(1.0, 1.0, 1.0));
  EXPECT_THAT(RecencyWeights(3, 0.0), ElementsAre(0.0, 0.0, 1.0));
  EXPECT_THAT(RecencyWeights(0, 0.5), IsEmpty());
}

TEST(RecencyWeights, AreTheBitsOfRepeatedMultiplication) {
  EXPECT_THAT(RecencyWeights(4, 0.9), ElementsAre(0.9 * 0.9 * 0.9, 0.9 * 0.9, 0.9, 1.0));
}

TEST(RecencyWeightsDeathTest, ANegativeGammaIsAProgrammerError) {
  EXPECT_DEATH(RecencyWeights(2, -0.5), "gamma");
}

}  // namespace
}  // namespace steelyard
