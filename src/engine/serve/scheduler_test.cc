#include "engine/serve/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::ElementsAre;

constexpr int64_t kStop = 99;
const std::vector<int64_t> kStopTokens = {kStop};

Request MakeRequest(int num_prompt, int64_t max_new_tokens, bool ignore_eos = false) {
  Request request;
  for (int i = 0; i < num_prompt; ++i) request.input_ids.push_back(i);
  request.max_new_tokens = max_new_tokens;
  request.ignore_eos = ignore_eos;
  return request;
}

std::vector<const Request*> Pointers(const std::vector<Request>& requests) {
  std::vector<const Request*> pointers;
  for (const Request& request : requests) pointers.push_back(&request);
  return pointers;
}

// (request, first position, tokens, logits?) of each run.
std::vector<std::string> RunsOf(const StepPlan& plan) {
  std::vector<std::string> runs;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const SequenceRun& run = plan.runs[i];
    runs.push_back("r" + std::to_string(plan.requests[i]) + " " +
                   (run.phase == Phase::kPrefill ? "prompt " : "next ") +
                   std::to_string(run.first_position) + "+" + std::to_string(run.num_rows) +
                   (run.wants_logits ? "!" : ""));
  }
  return runs;
}

TEST(Scheduler, FillsEveryStepWithNextTokensThenPrompts) {
  const std::vector<Request> requests = {MakeRequest(3, 2), MakeRequest(6, 2)};
  Scheduler scheduler(Pointers(requests), kStopTokens, {5, 8, 4});

  EXPECT_THAT(RunsOf(scheduler.Plan()), ElementsAre("r0 prompt 0+3!", "r1 prompt 0+2"));
  EXPECT_FALSE(scheduler.Accept(0, 7));
  const StepPlan& second = scheduler.Plan();
  EXPECT_THAT(RunsOf(second), ElementsAre("r0 next 3+1!", "r1 prompt 2+4!"));
  EXPECT_THAT(second.tokens, ElementsAre(7, 2, 3, 4, 5));
  EXPECT_TRUE(second.more_work);
  EXPECT_TRUE(scheduler.Accept(0, 8));
  EXPECT_FALSE(scheduler.Accept(1, 9));
  const StepPlan& third = scheduler.Plan();
  EXPECT_THAT(RunsOf(third), ElementsAre("r1 next 6+1!"));
  EXPECT_FALSE(third.more_work) << "its last token is certain to come with this step";
  EXPECT_TRUE(scheduler.Accept(0, 10));
  EXPECT_TRUE(scheduler.Plan().tokens.empty());
  EXPECT_EQ(scheduler.num_free_blocks(), 4);
  EXPECT_THAT(scheduler.new_tokens(0), ElementsAre(7, 8));
  EXPECT_THAT(scheduler.new_tokens(1), ElementsAre(9, 10));
  EXPECT_EQ(scheduler.finish_reason(1), FinishReason::kLength);
}

TEST(Scheduler, AStopTokenEndsARequestUnlessItIgnoresThem) {
  const std::vector<Request> requests = {MakeRequest(1, 3), MakeRequest(1, 3, true)};
  Scheduler scheduler(Pointers(requests), kStopTokens, {5, 8, 4});
  scheduler.Plan();
  EXPECT_TRUE(scheduler.Accept(0, kStop));
  EXPECT_FALSE(scheduler.Accept(1, kStop));
  EXPECT_THAT(scheduler.new_tokens(0), ElementsAre(kStop)) << "the last of its tokens";
  EXPECT_EQ(scheduler.finish_reason(0), FinishReason::kStop);
  EXPECT_THAT(RunsOf(scheduler.Plan()), ElementsAre("r1 next 1+1!"));
}

TEST(Scheduler, ARequestWaitsUntilTheCacheHasRoomForAllOfIt) {
  // 33 positions (the last token is never fed back) need two blocks, of which there are three.
  const std::vector<Request> requests = {MakeRequest(32, 2), MakeRequest(32, 2), MakeRequest(1, 1)};
  Scheduler scheduler(Pointers(requests), kStopTokens, {100, 8, 3});
  EXPECT_THAT(RunsOf(scheduler.Plan()), ElementsAre("r0 prompt 0+32!"))
      << "nobody overtakes who waits";
  scheduler.Accept(0, 1);
  EXPECT_THAT(RunsOf(scheduler.Plan()), ElementsAre("r0 next 32+1!"));
  scheduler.Accept(0, 1);
  EXPECT_THAT(RunsOf(scheduler.Plan()), ElementsAre("r1 prompt 0+32!", "r2 prompt 0+1!"));
}

TEST(Scheduler, NeverHasMoreSequencesThanAllowed) {
  const std::vector<Request> requests = {MakeRequest(1, 2), MakeRequest(1, 2), MakeRequest(1, 2)};
  Scheduler scheduler(Pointers(requests), kStopTokens, {100, 2, 8});
  EXPECT_EQ(scheduler.Plan().runs.size(), 2U);
}

// Plays random requests to the end and checks each step.
void PlayThrough(uint32_t seed) {
  std::minstd_rand random(seed);
  std::vector<Request> requests;
  int most_blocks = 1;
  for (uint32_t i = 0; i < 1 + random() % 20; ++i) {
    requests.push_back(
        MakeRequest(1 + static_cast<int>(random() % 80), 1 + random() % 20, random() % 2 == 0));
    most_blocks = std::max(most_blocks, NumKvBlocks(NumPositions(requests.back())));
  }
  const SchedulerLimits limits = {1 + static_cast<int>(random() % 40),
                                  1 + static_cast<int>(random() % 5),
                                  most_blocks + static_cast<int>(random() % 8)};
  Scheduler scheduler(Pointers(requests), kStopTokens, limits);
  std::map<int, int> next_position;  // by request
  bool more_work = true;
  while (true) {
    const StepPlan& plan = scheduler.Plan();
    if (plan.tokens.empty()) break;
    EXPECT_TRUE(more_work) << "a step came after the last";
    more_work = plan.more_work;
    EXPECT_LE(plan.tokens.size(), static_cast<size_t>(limits.max_batch_tokens));
    EXPECT_LE(plan.runs.size(), static_cast<size_t>(limits.max_sequences));
    std::set<int32_t> blocks;
    size_t num_blocks = 0;
    int row = 0;
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      const SequenceRun& run = plan.runs[i];
      EXPECT_EQ(run.first_row, row);
      row += run.num_rows;
      EXPECT_EQ(run.first_position, next_position[plan.requests[i]]);
      next_position[plan.requests[i]] += run.num_rows;
      EXPECT_LE(run.first_position + run.num_rows,
                static_cast<int>(run.blocks.size()) * kKvBlockPositions);
      blocks.insert(run.blocks.begin(), run.blocks.end());
      num_blocks += run.blocks.size();
    }
    EXPECT_EQ(row, static_cast<int>(plan.tokens.size()));
    EXPECT_EQ(blocks.size(), num_blocks) << "two sequences share a block";
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      if (plan.runs[i].wants_logits) {
        scheduler.Accept(static_cast<int>(i), random() % 10 == 0 ? kStop : 1);
      }
    }
  }
  EXPECT_EQ(scheduler.num_free_blocks(), limits.num_kv_blocks);
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<int32_t>& tokens = scheduler.new_tokens(static_cast<int>(i));
    const bool full = static_cast<int64_t>(tokens.size()) == requests[i].max_new_tokens;
    EXPECT_TRUE(full || (!requests[i].ignore_eos && tokens.back() == kStop)) << "request " << i;
  }
}

TEST(Scheduler, EveryRequestEndsWhateverTheLimits) {
  for (int seed = 1; seed <= Scaled(200); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    PlayThrough(static_cast<uint32_t>(seed));
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace steelyard
