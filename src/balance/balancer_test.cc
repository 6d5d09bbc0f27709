#include "steelyard/balance/balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "balance/test_host.h"
#include "base/test_scale.h"
#include "steelyard/comm/inproc.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

void ExpectAllWell(const std::vector<TestRankRun>& runs) {
  for (const TestRankRun& run : runs) EXPECT_EQ(run.status.ToString(), "OK");
  EXPECT_EQ(Disagreement(runs), "");
}

// Every bin of every window that a rank was handed is what all ranks sent in those steps, and no
// window is missing. Empty when it is so.
std::string CompareLoads(const std::vector<TestRankRun>& runs, const TestHostOptions& options,
                         const TestRankRun& run) {
  const BalancerOptions& balancer = options.balancer;
  const int bin_steps = balancer.window_steps / balancer.bins_per_window;
  const int64_t whole_bins = run.steps / bin_steps;
  int64_t bin_idx = 0;
  for (const LoadWindow& window : run.loads) {
    for (int bin = 0; bin < window.shape().num_bins; ++bin, ++bin_idx) {
      const std::vector<int64_t> want =
          SentBetween(runs, options, bin_idx * bin_steps, (bin_idx + 1) * bin_steps);
      const size_t per_bin = want.size();
      for (size_t i = 0; i < per_bin; ++i) {
        if (window.counts()[bin * per_bin + i] != static_cast<double>(want[i])) {
          return "bin " + std::to_string(bin_idx) + " count " + std::to_string(i) + " is " +
                 std::to_string(window.counts()[bin * per_bin + i]) + ", sent were " +
                 std::to_string(want[i]);
        }
      }
    }
  }
  return bin_idx == whole_bins
             ? ""
             : std::to_string(bin_idx) + " bins of " + std::to_string(whole_bins) + " came";
}

// From what every rank received: max / mean rank load of a window's sums, mean over layers.
double ImbalanceOf(const std::vector<TestRankRun>& runs, const TestHostOptions& options,
                   int64_t window_idx) {
  const int window_steps = options.balancer.window_steps;
  double sum = 0.0;
  for (int layer = 0; layer < options.num_layers; ++layer) {
    std::vector<double> loads;
    for (const TestRankRun& run : runs) {
      double& load = loads.emplace_back(0.0);
      for (int64_t step = window_idx * window_steps; step < (window_idx + 1) * window_steps;
           ++step) {
        load += static_cast<double>(run.received[step * options.num_layers + layer]);
      }
    }
    const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / options.num_ranks;
    sum += *std::max_element(loads.begin(), loads.end()) / mean;
  }
  return sum / options.num_layers;
}

void ExpectWindowsAreTrue(const std::vector<TestRankRun>& runs, const TestHostOptions& options) {
  for (const TestRankRun& run : runs) {
    EXPECT_EQ(CompareLoads(runs, options, run), "");
    const int window_steps = options.balancer.window_steps;
    ASSERT_EQ(static_cast<int64_t>(run.metrics.windows.size()), run.steps / window_steps);
    for (size_t i = 0; i < run.metrics.windows.size(); ++i) {
      const WindowStats& window = run.metrics.windows[i];
      EXPECT_EQ(window.first_step, static_cast<int64_t>(i) * window_steps);
      EXPECT_NEAR(window.imbalance, ImbalanceOf(runs, options, static_cast<int64_t>(i)), 1e-9);
      ASSERT_EQ(window.rank_loads.size(), runs.size());
      EXPECT_NEAR(std::accumulate(window.rank_loads.begin(), window.rank_loads.end(), 0.0),
                  static_cast<double>(runs.size()), 1e-9);
      EXPECT_EQ(window.tokens, window_steps * options.num_layers *
                                   (options.num_ranks * options.tokens_per_rank + 3.0));
    }
  }
}

TestHostOptions Steps(BalanceMode mode, int64_t num_steps) {
  TestHostOptions options;
  options.balancer = QuickOptions(mode);
  options.stop = [num_steps](const Balancer& balancer) { return balancer.step() >= num_steps; };
  return options;
}

TestHostOptions UntilCycles(BalanceMode mode, int64_t num_cycles) {
  TestHostOptions options;
  options.balancer = QuickOptions(mode);
  options.stop = AfterCycles(num_cycles);
  return options;
}

int64_t CyclesInFlight(const BalancerMetrics& metrics) {
  return metrics.cycles_started - metrics.cycles_committed - metrics.cycles_kept -
         metrics.cycles_abandoned;
}

TEST(Balancer, OffCountsLoadsAndPlansNothing) {
  const TestHostOptions options = Steps(BalanceMode::kOff, 27);
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  ExpectWindowsAreTrue(runs, options);
  EXPECT_EQ(runs[0].metrics.cycles_started, 0);
  EXPECT_EQ(runs[0].metrics.stall_total, Duration::zero());
  EXPECT_EQ(runs[0].versions, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(runs[0].metrics.first_window_after_commit, -1);
}

TEST(Balancer, StaticCountsLoadsAndPlansNothing) {
  const TestHostOptions options = Steps(BalanceMode::kStatic, 16);
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  ExpectWindowsAreTrue(runs, options);
  EXPECT_EQ(runs[0].metrics.cycles_started, 0);
  EXPECT_EQ(runs[0].versions, (std::vector<int64_t>{0, 0}));
}

// 27 steps of windows of 8 in bins of 2: three windows, and the one bin that is whole.
TEST(Balancer, FinishHandsOutTheWholeBinsOfTheLastWindow) {
  const TestHostOptions options = Steps(BalanceMode::kOff, 27);
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ASSERT_EQ(runs[2].loads.size(), 4u);
  EXPECT_EQ(runs[2].loads[0].shape().num_bins, 4);
  EXPECT_EQ(runs[2].loads[3].shape(), (LoadShape{1, kNumPhases, 2, 16}));
  EXPECT_EQ(CompareLoads(runs, options, runs[2]), "");
}

TEST(Balancer, ALastWindowWithoutAWholeBinIsNotHandedOut) {
  const std::vector<TestRankRun> runs = RunTestHost(Steps(BalanceMode::kOff, 9));
  ExpectAllWell(runs);
  EXPECT_EQ(runs[0].loads.size(), 1u);
}

TEST(Balancer, AsyncCyclesCommitAndLevelTheLoad) {
  const TestHostOptions options = UntilCycles(BalanceMode::kAsync, 3);
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  ExpectWindowsAreTrue(runs, options);
  const BalancerMetrics& metrics = runs[0].metrics;
  EXPECT_GT(metrics.cycles_committed, 0);
  EXPECT_GT(metrics.moves, 0);
  EXPECT_EQ(metrics.bytes_moved, metrics.moves * static_cast<int64_t>(options.bundle_bytes));
  EXPECT_EQ(metrics.cycles_abandoned, 0);
  EXPECT_THAT(CyclesInFlight(metrics), ::testing::AnyOf(0, 1));
  EXPECT_GT(metrics.windows.front().imbalance, 1.4) << "the contiguous placement is not level";
  EXPECT_LT(metrics.windows.back().imbalance, 1.15);
}

// The step path only ever waited for votes, and only when a test had failed first.
TEST(Balancer, AClockThatStandsStillShowsNoStall) {
  const std::vector<TestRankRun> runs = RunTestHost(UntilCycles(BalanceMode::kAsync, 2));
  ExpectAllWell(runs);
  for (const TestRankRun& run : runs) EXPECT_EQ(run.metrics.stall_total, Duration::zero());
}

TEST(Balancer, SyncCommitsBetweenTwoSteps) {
  const TestHostOptions options = Steps(BalanceMode::kSync, 24);
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  ExpectWindowsAreTrue(runs, options);
  const BalancerMetrics& metrics = runs[0].metrics;
  EXPECT_EQ(metrics.cycles_started, 3);
  EXPECT_EQ(CyclesInFlight(metrics), 0);
  EXPECT_EQ(metrics.cycles_abandoned, 0);
  ASSERT_EQ(metrics.windows.size(), 3u);
  EXPECT_EQ(metrics.first_window_after_commit, 1)
      << "the cycle that window 0 began was committed before window 1";
  EXPECT_LT(metrics.windows[1].imbalance, 1.15);
}

TEST(Balancer, FirstWindowAfterCommitBeganAfterIt) {
  TestHostOptions options = UntilCycles(BalanceMode::kAsync, 4);
  std::vector<int64_t> commit_steps(options.num_ranks, -1);  // steps done when it had happened
  options.after_end_step = [&](int rank, Balancer& balancer) {
    if (commit_steps[rank] < 0 && balancer.metrics().cycles_committed > 0) {
      commit_steps[rank] = balancer.step();
    }
  };
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  // The last of four cycles was begun by a window that lies after the first commit.
  ASSERT_GE(commit_steps[1], 0);
  EXPECT_EQ(runs[1].metrics.first_window_after_commit, (commit_steps[1] + 7) / 8);
}

TEST(Balancer, ALevelLoadIsKept) {
  TestHostOptions options = UntilCycles(BalanceMode::kAsync, 2);
  options.flat = true;
  options.num_experts = 20;  // one slot each: nothing to choose
  options.balancer.plan.gate = 0.5;
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  EXPECT_GE(runs[0].metrics.cycles_kept, 2);
  EXPECT_EQ(runs[0].metrics.cycles_committed, 0);
  EXPECT_EQ(runs[0].metrics.moves, 0);
  EXPECT_EQ(runs[0].versions, (std::vector<int64_t>{0, 0}));
}

// Load is conserved across flips in the middle of windows: counts from before are folded.
TEST(Balancer, LoadsAreWhatWasRoutedWhileLayersFlip) {
  for (int seed = 0; seed < Scaled(12); ++seed) {
    TestHostOptions options = UntilCycles(BalanceMode::kAsync, 4);
    options.seed = static_cast<uint64_t>(seed);
    options.drift_steps = 24;
    options.num_ranks = 2 + seed % 3;
    options.slots_per_rank = 16 / options.num_ranks + 2;
    options.num_layers = 1 + seed % 4;
    options.balancer.vote_lag_steps = 1 + seed % 3;
    options.balancer.staging_buffers = 1 + seed % 2;
    const std::vector<TestRankRun> runs = RunTestHost(options);
    ExpectAllWell(runs);
    ExpectWindowsAreTrue(runs, options);
    EXPECT_GT(runs[0].metrics.moves, 0);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

// A policy that re-plans everything in each window: nearly all experts move, over many rounds.
TEST(Balancer, EveryPolicyIsCarriedOutLive) {
  for (const std::string_view policy : PolicyNames()) {
    TestHostOptions options = UntilCycles(BalanceMode::kAsync, 3);
    options.policy = policy;
    options.drift_steps = 16;
    const std::vector<TestRankRun> runs = RunTestHost(options);
    ExpectAllWell(runs);
    ExpectWindowsAreTrue(runs, options);
    EXPECT_EQ(runs[0].metrics.cycles_abandoned, 0);
    ASSERT_FALSE(HasFailure()) << policy;
  }
}

// One expert takes nearly everything: `deepseek` gives one rank two copies of it.
TEST(Balancer, DuplicatesOfAFaithfulPolicyAreReplacedAndCounted) {
  TestHostOptions options = UntilCycles(BalanceMode::kSync, 2);
  options.policy = "deepseek";
  options.num_ranks = 2;
  options.slots_per_rank = 4;
  options.num_experts = 4;
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  EXPECT_GT(runs[0].metrics.duplicates_replaced, 0);
}

TEST(Balancer, LoadsOfSlotsCountUntilCleared) {
  TestHostOptions options = Steps(BalanceMode::kOff, 12);
  std::vector<int64_t> before(options.num_ranks);
  std::vector<int64_t> after(options.num_ranks);
  options.after_end_step = [&](int rank, Balancer& balancer) {
    const std::span<const int64_t> loads = balancer.loads();
    ASSERT_EQ(loads.size(), 10u);
    if (balancer.step() == 9) {
      before[rank] = std::accumulate(loads.begin(), loads.end(), int64_t{0});
      balancer.ClearLoads();
    }
    if (balancer.step() == 12)
      after[rank] = std::accumulate(loads.begin(), loads.end(), int64_t{0});
  };
  const std::vector<TestRankRun> runs = RunTestHost(options);
  ExpectAllWell(runs);
  for (size_t rank = 0; rank < runs.size(); ++rank) {
    const auto received = runs[rank].received.begin();
    EXPECT_EQ(before[rank], std::accumulate(received, received + 18, int64_t{0}));
    EXPECT_EQ(after[rank], std::accumulate(received + 18, received + 24, int64_t{0}));
  }
}

TEST(Balancer, CreateNamesWhatDoesNotFit) {
  const Placement initial = Placement::Contiguous(Topology::Create(1, 2).value(), 1, 2).value();
  const auto ends = MakeInprocGroup(1);
  TestStore store(initial, 0, 192, 2);
  BalancerHost host;
  BalancerOptions options = QuickOptions(BalanceMode::kAsync);
  const auto message = [&] {
    return std::string(Balancer::Create(options, host, initial).status().message());
  };
  EXPECT_THAT(message(), HasSubstr("needs a communicator, an expert store and a clock"));
  host.comm = ends[0].get();
  host.store = &store;
  EXPECT_THAT(message(), HasSubstr("balance mode async needs a policy"));
  host.make_policy = [] { return MakePolicy("best"); };
  EXPECT_THAT(message(), HasSubstr("best"));
  options.staging_buffers = 3;
  EXPECT_THAT(message(), HasSubstr("2 spare buffers"));
  options.window_steps = 9;
  EXPECT_THAT(message(), HasSubstr("a window of 9 steps does not divide into 4 bins"));
}

}  // namespace
}  // namespace steelyard
