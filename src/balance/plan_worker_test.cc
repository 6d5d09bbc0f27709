#include "balance/plan_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "balance/test_policies.h"
#include "base/test_no_threads.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

PlanJob MakeJob() {
  const Placement current = Placement::Contiguous(Topology::Create(2, 3).value(), 1, 4).value();
  const LoadShape shape{1, kNumPhases, 1, 4};
  const auto loads = std::make_shared<const LoadWindow>(
      LoadWindow::Create(shape, {90, 1, 1, 1, 90, 1, 50, 1}).value());
  return PlanJob{current, {loads}, PlanOptions(), PolicyState(), 1};
}

std::unique_ptr<Policy> Scripted(const ScriptedPolicy::Script& script) {
  return std::make_unique<ScriptedPolicy>(script);
}

std::unique_ptr<Policy> Hanging(const std::shared_ptr<HangingGate>& gate) {
  return Scripted([gate](int, Policy&, const PlanInput&, PolicyState&,
                         const PlanContext& context) -> Result<Plan> {
    gate->Hang(context.cancel);
    return Cancelled("told to stop");
  });
}

TEST(PlanWorker, PlansAsTheCallingThreadWould) {
  const auto policy = MakePolicy("steelyard").value();
  const PlanOutcome want = MakePlanOutcome(*policy, MakeJob(), nullptr).value();
  const auto worker = PlanWorker::Start(MakePolicy("steelyard").value()).value();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(worker->idle());
    worker->Submit(MakeJob());
    while (!worker->done()) worker->WaitForChange(std::chrono::seconds(1));
    const PlanOutcome have = worker->Take().value();
    EXPECT_TRUE(have.target == want.target);
    EXPECT_EQ(have.digest, want.digest);
  }
}

TEST(PlanWorker, WhatAPolicyThrowsIsAFailureThatNamesIt) {
  const auto worker = PlanWorker::Start(Scripted([](int, Policy&, const PlanInput&, PolicyState&,
                                                    const PlanContext&) -> Result<Plan> {
                        throw std::runtime_error("no idea");
                      })).value();
  worker->Submit(MakeJob());
  while (!worker->done()) worker->WaitForChange(std::chrono::seconds(1));
  EXPECT_THAT(worker->Take().status().message(), HasSubstr("policy scripted threw: no idea"));
}

TEST(PlanWorker, ACancelledJobLeavesTheWorkerIdleAndItsOutcomeIsThrownAway) {
  const auto gate = std::make_shared<HangingGate>();
  const auto worker = PlanWorker::Start(Hanging(gate)).value();
  worker->Submit(MakeJob());
  while (gate->num_entered() == 0) std::this_thread::yield();
  EXPECT_FALSE(worker->idle());
  worker->Cancel();
  while (!worker->idle()) worker->WaitForChange(std::chrono::seconds(1));
  EXPECT_FALSE(worker->done());
}

TEST(PlanWorker, IsNotWaitedForWhenItDoesNotEnd) {
  const auto gate = std::make_shared<HangingGate>();
  {
    const auto worker =
        PlanWorker::Start(Scripted([gate](int, Policy& inner, const PlanInput& input,
                                          PolicyState& state, const PlanContext& context) {
          gate->Hang(nullptr);
          return inner.MakePlan(input, state, context);
        })).value();
    worker->Submit(MakeJob());
    while (gate->num_entered() == 0) std::this_thread::yield();
  }
  gate->OpenAndWait();
}

TEST(PlanWorker, AThreadThatCannotBeStartedIsAFailure) {
  const NoThreads none;
  const auto worker = PlanWorker::Start(MakePolicy("steelyard").value());
  ASSERT_FALSE(worker.ok());
  EXPECT_THAT(worker.status().message(), HasSubstr("the planning thread cannot be started: "));
}

// The order of rounds follows the loads: ranks that planned one placement on other loads must not
// carry it out together.
TEST(MakePlanOutcome, TheDigestCoversEveryRound) {
  const PlanJob job = MakeJob();
  const Topology topology = job.current.topology();
  const auto plan_for = [&](const std::vector<int32_t>& slots) {
    const auto policy = Scripted([topology, slots](int, Policy& inner, const PlanInput& input,
                                                   PolicyState& state, const PlanContext& context) {
      Result<Plan> plan = inner.MakePlan(input, state, context);
      plan->placement = Placement::Create(topology, 4, slots, DuplicateRule::kAllow).value();
      plan->digest = 1;
      return plan;
    });
    return MakePlanOutcome(*policy, job, nullptr).value();
  };
  EXPECT_EQ(plan_for({0, 1, 2, 3, 0, 2}).digest, plan_for({0, 1, 2, 3, 0, 2}).digest);
  EXPECT_NE(plan_for({0, 1, 2, 3, 0, 2}).digest, plan_for({0, 1, 3, 2, 0, 3}).digest);
}

// Contiguous is 0 1 2 | 3 0 1; a plan that holds 0 twice on rank 0.
TEST(MakePlanOutcome, ADuplicateIsReplacedWhateverThePlanSaysOfIt) {
  const PlanJob job = MakeJob();
  const auto policy = Scripted([&](int, Policy& inner, const PlanInput& input, PolicyState& state,
                                   const PlanContext& context) {
    Result<Plan> plan = inner.MakePlan(input, state, context);
    plan->placement =
        Placement::Create(job.current.topology(), 4, {0, 0, 1, 2, 3, 1}, DuplicateRule::kAllow)
            .value();
    plan->duplicates = 0;
    return plan;
  });
  const PlanOutcome outcome = MakePlanOutcome(*policy, job, nullptr).value();
  EXPECT_EQ(outcome.duplicates_replaced, 1);
  EXPECT_EQ(outcome.target.CountDuplicates(), 0);
}

}  // namespace
}  // namespace steelyard
