// How answers are shown to be the same (I6): runs with every number of ranks, balance mode and
// batch size against one rank without balancing.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "bundled.h"

namespace steelyard {

struct RunKind {
  int num_ranks = 1;
  BalanceMode mode = BalanceMode::kOff;
  int max_batch_tokens = 512;
};

inline ServeReport RunOnce(const std::vector<Request>& requests, const RunKind& kind,
                           ComputeType compute) {
  ServeOptions options;
  options.compute = compute;
  options.num_ranks = kind.num_ranks;
  options.max_batch_tokens = kind.max_batch_tokens;
  options.balancer.mode = kind.mode;
  options.balancer.window_steps = 8;  // many cycles
  Result<ServeReport> report = Serve(BundledModel(), requests, options);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return report.ok() ? *std::move(report) : ServeReport{};
}

/// Runs every kind and compares tokens with `expected`; returns how many experts moved in all.
inline int64_t ExpectSameTokens(const std::vector<Request>& requests,
                                const std::vector<RunKind>& kinds, ComputeType compute,
                                const std::vector<std::vector<int32_t>>& expected) {
  int64_t moves = 0;
  for (const RunKind& kind : kinds) {
    const ServeReport report = RunOnce(requests, kind, compute);
    EXPECT_TRUE(TokensOf(report) == expected)
        << kind.num_ranks << " ranks, " << BalanceModeName(kind.mode) << ", "
        << kind.max_batch_tokens << " tokens a step";
    EXPECT_EQ(report.balance.cycles_abandoned, 0) << report.balance.last_abandon_reason;
    moves += report.balance.moves;
  }
  return moves;
}

/// Every number of ranks with every mode.
inline std::vector<RunKind> AllKinds(int max_batch_tokens) {
  std::vector<RunKind> kinds;
  for (const int num_ranks : {1, 2, 4, 8}) {
    for (const BalanceMode mode :
         {BalanceMode::kOff, BalanceMode::kStatic, BalanceMode::kSync, BalanceMode::kAsync}) {
      kinds.push_back({num_ranks, mode, max_batch_tokens});
    }
  }
  return kinds;
}

}  // namespace steelyard
