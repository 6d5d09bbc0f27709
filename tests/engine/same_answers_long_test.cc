#include "same_answers.h"

namespace steelyard {
namespace {

TEST(SameAnswersLong, OfTheWholeDemo) {
  const std::vector<Request> requests = DemoRequests(1000);
  ASSERT_EQ(requests.size(), 600U);
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kBf16));
  for (const int max_batch_tokens : {32, 512}) {
    EXPECT_GT(ExpectSameTokens(requests, AllKinds(max_batch_tokens), ComputeType::kBf16, expected),
              500);
  }
}

TEST(SameAnswersLong, OfTheWholeDemoInFloat32) {
  const std::vector<Request> requests = DemoRequests(1000);
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kF32));
  ExpectSameTokens(requests, AllKinds(64), ComputeType::kF32, expected);
}

}  // namespace
}  // namespace steelyard
