// A host of invented tokens and weights: ranks as threads that route, exchange, check and count,
// step by step, for the tests of the balancer.
//
// Every rank checks every token that it receives: the sender used the same version of the tables
// (I4), and the slot holds exactly that expert's bytes (I3, I5); and after every step that each
// expert has a slot and no rank holds one twice (I1, I2).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/fault.h"
#include "migrate/test_store.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"

namespace steelyard {

struct TestHostOptions {
  int num_ranks = 4;
  int slots_per_rank = 5;
  int num_layers = 2;
  int num_experts = 16;
  int tokens_per_rank = 64;  // a step and layer; rank 0 has a few more, so that ranks differ
  int drift_steps = 0;       // the hot experts change every so many steps; 0 for never
  bool flat = false;         // every expert is as hot as every other
  uint64_t seed = 1;
  size_t bundle_bytes = 192;
  BalancerOptions balancer;
  std::vector<FaultPlan> faults = {};
  /// Given the ends of the group before the first step; they live until RunTestHost() returns.
  std::function<void(const std::vector<std::unique_ptr<FaultyCommunicator>>&)> on_ends = {};
  /// The policy of a rank; by default `policy`.
  std::function<Result<std::unique_ptr<Policy>>(int rank)> make_policy = {};
  std::string policy = "steelyard";
  /// Of the balancer. It stands still unless a test moves it.
  const Clock* clock = nullptr;
  /// Of token exchanges.
  const Clock* exchange_clock = &Clock::System();
  /// Asked on every rank after every step; must look only at what all ranks have in common.
  std::function<bool(const Balancer&)> stop = {};
  /// Called on every rank's thread before and after EndStep().
  std::function<void(int rank, Balancer&)> before_end_step = {};
  std::function<void(int rank, Balancer&)> after_end_step = {};
};

/// What a rank came to.
struct TestRankRun {
  Status status;
  BalancerMetrics metrics;
  std::vector<int32_t> slot_to_expert;  // [num_layers, num_slots] at the end
  std::vector<int64_t> versions;        // [num_layers] at the end
  std::vector<LoadWindow> loads;        // what on_loads was given
  /// Tokens that this rank sent, [steps, phases, layers, experts], and received, [steps, layers].
  std::vector<int64_t> sent;
  std::vector<int64_t> received;
  int64_t steps = 0;
};

/// Some of the tokens are prefill (phase 0), the rest decode.
std::vector<TestRankRun> RunTestHost(const TestHostOptions& options);

/// Bins small enough, and a clock that stands still: a cycle takes a few steps and nothing is ever
/// late by itself.
BalancerOptions QuickOptions(BalanceMode mode);

/// Stops within a window once so many cycles were committed or kept.
std::function<bool(const Balancer&)> AfterCycles(int64_t num_cycles);

/// Tokens of one step range that all ranks sent, [phases, layers, experts].
std::vector<int64_t> SentBetween(const std::vector<TestRankRun>& runs,
                                 const TestHostOptions& options, int64_t first_step,
                                 int64_t end_step);
/// Empty when all ranks have the same placement, versions and counts of cycles and moves; else what
/// differs.
std::string Disagreement(const std::vector<TestRankRun>& runs);

}  // namespace steelyard
