// What a run does when it is stopped, and when a message between ranks goes astray.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "base/test_no_threads.h"
#include "bundled.h"
#include "comm/fault.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

ServeOptions FourRanks() {
  ServeOptions options;
  options.num_ranks = 4;
  options.max_batch_tokens = 64;
  options.balancer.window_steps = 8;
  return options;
}

/// Puts the plan of each rank that has one into its end of the group.
void AddFaults(std::map<int, FaultPlan> plans, ServeOptions* options) {
  auto held = std::make_shared<HeldSlices>(options->num_ranks);
  options->wrap_communicator = [plans = std::move(plans), held](std::unique_ptr<Communicator> end) {
    const auto plan = plans.find(end->rank());
    return std::unique_ptr<Communicator>(std::make_unique<FaultyCommunicator>(
        std::move(end), plan == plans.end() ? FaultPlan{} : plan->second, held));
  };
}

std::vector<std::vector<int32_t>> UndisturbedTokens(const std::vector<Request>& requests) {
  ServeOptions options = FourRanks();
  options.balancer.mode = BalanceMode::kOff;
  return TokensOf(Serve(BundledModel(), requests, options).value());
}

TEST(Serving, ARankWhoseThreadCannotBeStartedIsNamed) {
  const NoThreads none;
  const Status status = Serve(BundledModel(), DemoRequests(4), FourRanks()).status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("the thread of rank 0 of 4 cannot be started: "));
}

TEST(Stopping, EndsEveryRankWithinAStep) {
  CancelFlag cancel;
  ServeOptions options = FourRanks();
  options.cancel = &cancel;
  int64_t last_step = 0;
  options.on_progress = [&](const ServeProgress& progress) {
    last_step = progress.steps;
    if (progress.steps == 5) cancel.Cancel();
  };
  const Status status = Serve(BundledModel(), DemoRequests(60), options).status();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_THAT(status.message(), HasSubstr("the run was stopped in step"));
  EXPECT_LE(last_step, 6);
}

TEST(Stopping, IsNoticedBeforeTheFirstStepToo) {
  CancelFlag cancel;
  cancel.Cancel();
  ServeOptions options = FourRanks();
  options.cancel = &cancel;
  EXPECT_EQ(Serve(BundledModel(), DemoRequests(4), options).status().code(),
            StatusCode::kCancelled);
}

TEST(Faults, ARankThatNeverShowsUpEndsTheRunInTime) {
  ServeOptions options = FourRanks();
  options.exchange_timeout = std::chrono::milliseconds(500);
  FaultPlan plan;
  plan.miss_exchanges = IdRange::From(40);
  AddFaults({{2, plan}}, &options);
  const Status status = Serve(BundledModel(), DemoRequests(60), options).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(),
              testing::AllOf(HasSubstr("step 3, MoE layer 1"), HasSubstr("rank 2")));
}

TEST(Faults, ALostVoteEndsTheRunInTime) {
  ServeOptions options = FourRanks();
  options.balancer.vote_deadline = std::chrono::milliseconds(500);
  FaultPlan plan;
  plan.lose_votes = {0, std::numeric_limits<uint64_t>::max()};
  AddFaults({{1, plan}}, &options);
  const Status status = Serve(BundledModel(), DemoRequests(60), options).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("vote"));
}

TEST(Faults, DamagedWeightsAbandonACycleAndChangeNoAnswer) {
  const std::vector<Request> requests = DemoRequests(60);
  ServeOptions options = FourRanks();
  FaultPlan plan;
  SliceFault damage;
  damage.kind = SliceFault::Kind::kCorrupt;
  damage.at_most = 1;
  plan.slices = {damage};
  AddFaults({{0, plan}, {1, plan}, {2, plan}, {3, plan}}, &options);
  const Result<ServeReport> report = Serve(BundledModel(), requests, options);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_GE(report->balance.cycles_abandoned, 1);
  EXPECT_GE(report->balance.cycles_committed, 1) << "the next cycle starts normally";
  EXPECT_TRUE(TokensOf(*report) == UndisturbedTokens(requests));
}

TEST(Faults, AFailedSinkEndsTheRunWithItsReason) {
  ServeOptions options = FourRanks();
  options.on_logits = [](const Request& request, std::span<const float> /*logits*/) {
    return request.id == DemoRequests(8)[6].id ? Unavailable("the disk is full") : Status::Ok();
  };
  const Status status = Serve(BundledModel(), DemoRequests(8), options).status();
  EXPECT_EQ(status, Unavailable("the disk is full"));
}

TEST(Report, CountsWhatWasServed) {
  const std::vector<Request> requests = DemoRequests(20);
  ServeOptions options = FourRanks();
  ServeProgress last;
  double loads = 0;
  options.on_progress = [&](const ServeProgress& progress) { last = progress; };
  options.on_loads = [&](const LoadWindow& window) {
    for (const double count : window.counts()) loads += count;
  };
  const Result<ServeReport> report = Serve(BundledModel(), requests, options);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const RequestResult& result = report->results[i];
    EXPECT_EQ(result.id, requests[i].id);
    EXPECT_EQ(result.input_ids, requests[i].input_ids);
    const bool full = static_cast<int64_t>(result.new_tokens.size()) == requests[i].max_new_tokens;
    EXPECT_TRUE(full || result.finish_reason == FinishReason::kStop) << result.id;
    EXPECT_EQ(result.text, BundledModel().tokenizer.Decode(result.new_tokens, true));
    prompt_tokens += static_cast<int64_t>(requests[i].input_ids.size());
    new_tokens += static_cast<int64_t>(result.new_tokens.size());
  }
  EXPECT_EQ(report->prompt_tokens, prompt_tokens);
  EXPECT_EQ(report->new_tokens, new_tokens);
  EXPECT_EQ(last.steps, report->steps);
  EXPECT_EQ(last.total_tokens, last.done_tokens);
  EXPECT_EQ(report->slots_per_rank, 9);
  EXPECT_LE(report->step_times.p50_ms, report->step_times.p99_ms);
  EXPECT_LE(report->step_times.p99_ms, report->step_times.max_ms);
  // Every token but the last new one of a request visits top-4 experts in 6 layers; steps that fill
  // no bin are left out.
  EXPECT_GT(loads, 0);
  EXPECT_LE(loads, static_cast<double>((prompt_tokens + new_tokens - 20) * 4 * 6));
}

}  // namespace
}  // namespace steelyard
