#include <algorithm>

#include "base/test_scale.h"
#include "same_answers.h"

namespace steelyard {
namespace {

// The first 60 requests of the demo; no fewer than 15, so that experts still move.
size_t NumRequests() { return static_cast<size_t>(std::clamp(Scaled(60), 15, 60)); }

TEST(SameAnswers, WithEveryNumberOfRanksAndEveryMode) {
  const std::vector<Request> requests = DemoRequests(NumRequests());
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kBf16));
  EXPECT_GT(ExpectSameTokens(requests, AllKinds(64), ComputeType::kBf16, expected), 20)
      << "hardly anything moved, so this shows little";
}

TEST(SameAnswers, WithEveryBatchSize) {
  const std::vector<Request> requests = DemoRequests(NumRequests());
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kBf16));
  std::vector<RunKind> kinds;
  for (const int max_batch_tokens : {7, 33, 1000}) {
    kinds.push_back({1, BalanceMode::kOff, max_batch_tokens});
    kinds.push_back({4, BalanceMode::kAsync, max_batch_tokens});
  }
  ExpectSameTokens(requests, kinds, ComputeType::kBf16, expected);
}

TEST(SameAnswers, InFloat32) {
  const std::vector<Request> requests = DemoRequests(NumRequests());
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kF32));
  const std::vector<RunKind> kinds = {{4, BalanceMode::kAsync, 64}, {8, BalanceMode::kSync, 32}};
  ExpectSameTokens(requests, kinds, ComputeType::kF32, expected);
}

TEST(SameAnswers, OfATokenOneByOne) {
  const std::vector<Request> requests = DemoRequests(2);
  const auto expected = TokensOf(RunOnce(requests, {1, BalanceMode::kOff}, ComputeType::kBf16));
  ExpectSameTokens(requests, {{1, BalanceMode::kOff, 1}, {2, BalanceMode::kAsync, 1}},
                   ComputeType::kBf16, expected);
}

TEST(SameAnswers, DependOnTheRequestAlone) {
  std::vector<Request> requests = DemoRequests(NumRequests());
  const auto expected = TokensOf(RunOnce(requests, {2, BalanceMode::kOff}, ComputeType::kBf16));
  for (const size_t i : {size_t{0}, requests.size() / 3, requests.size() - 1}) {
    const auto alone = TokensOf(RunOnce({requests[i]}, {1, BalanceMode::kOff}, ComputeType::kBf16));
    EXPECT_EQ(alone[0], expected[i]) << "request " << i;
  }
}

}  // namespace
}  // namespace steelyard
