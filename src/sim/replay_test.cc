#include "sim/replay.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/test_scale.h"
#include "sim/frontier.h"
#include "sim/placement_score.h"
#include "sim/synthetic.h"
#include "sim/test_traces.h"

namespace steelyard {
namespace {

// The time between two looks is 1, 2, 3, .. ms.
class SlowingClock : public Clock {
 public:
  TimePoint Now() const override {
    at_ += std::chrono::milliseconds(looks_++);
    return at_;
  }

 private:
  mutable TimePoint at_{Duration(1)};
  mutable int looks_ = 0;
};

// Four experts on two ranks of two slots; rank 0 holds experts 0 and 1.
const std::vector<std::vector<double>> kTiny = {
    {3, 1, 0, 0}, {1, 1, 1, 1}, {2, 0, 2, 0}, {4, 0, 0, 0}, {9, 9, 9, 9}};

// Keeps every placement in force.
struct Record {
  std::vector<Placement> placements;

  ReplayContext Context() {
    ReplayContext context;
    context.after_plan = [this](int window_idx, const Placement& in_force) {
      EXPECT_EQ(static_cast<size_t>(window_idx), placements.size());
      placements.push_back(in_force);
      return Status::Ok();
    };
    return context;
  }
};

double RankImbalance(const Placement& placement, const LoadWindow& window, int bin, int layer) {
  std::map<int32_t, double> copies;
  for (const int32_t expert : placement.slot_to_expert(layer)) copies[expert] += 1.0;
  std::vector<double> ranks(placement.topology().num_ranks(), 0.0);
  double total = 0.0;
  for (int slot = 0; slot < placement.num_slots(); ++slot) {
    const int32_t expert = placement.slot_to_expert(layer)[slot];
    for (int phase = 0; phase < window.shape().num_phases; ++phase) {
      const double load = window.experts(bin, phase, layer)[expert] / copies[expert];
      ranks[placement.topology().rank_of_slot(slot)] += load;
      total += load;
    }
  }
  const double mean = total / static_cast<double>(ranks.size());
  return mean > 0.0 ? *std::max_element(ranks.begin(), ranks.end()) / mean : 1.0;
}

int64_t PairsGained(const Placement& from, const Placement& to) {
  const auto held = [](const Placement& placement) {
    std::set<std::vector<int>> pairs;
    for (int layer = 0; layer < placement.num_layers(); ++layer) {
      for (int slot = 0; slot < placement.num_slots(); ++slot) {
        pairs.insert({layer, placement.topology().rank_of_slot(slot),
                      placement.slot_to_expert(layer)[slot]});
      }
    }
    return pairs;
  };
  const std::set<std::vector<int>> before = held(from);
  int64_t gained = 0;
  for (const std::vector<int>& pair : held(to)) gained += before.count(pair) == 0 ? 1 : 0;
  return gained;
}

TEST(Replay, ScoresEachPlanOnTheWindowAfterIt) {
  const LoadWindow trace = OneLayerTrace(kTiny);
  const std::vector<LoadWindow> windows = CutWindows(trace, 1).value();
  const Placement start = ContiguousOn(2, 2, trace.shape());
  const PolicyReplay replay = ReplayPolicy("static", {windows, &start}).value();
  // Imbalance of the windows: 2, 1, 1, 2, 1.
  ASSERT_EQ(replay.cycles.size(), 4U);
  EXPECT_DOUBLE_EQ(replay.imbalance_plan, (2.0 + 1 + 1 + 2) / 4);
  EXPECT_DOUBLE_EQ(replay.imbalance_next, (1.0 + 1 + 2 + 1) / 4);
  EXPECT_DOUBLE_EQ(replay.imbalance_next_p95, 1.85);  // place 2.85 of 1, 1, 1, 2
  EXPECT_EQ(replay.moves, 0);
  EXPECT_EQ(replay.duplicates, 0);
}

TEST(Replay, ABinCountsByItselfAndBinsLeftOverAreDropped) {
  const LoadWindow trace = OneLayerTrace(kTiny);
  const std::vector<LoadWindow> windows = CutWindows(trace, 2).value();
  ASSERT_EQ(windows.size(), 2U);
  const Placement start = ContiguousOn(2, 2, trace.shape());
  const PolicyReplay replay = ReplayPolicy("static", {windows, &start}).value();
  EXPECT_DOUBLE_EQ(replay.imbalance_next, 1.5);  // of bins 2 and 3; together they have 8 : 2
  EXPECT_EQ(replay.moves_per_cycle, 0.0);
}

TEST(Replay, TakesTheMedianTimeOfAllPlansButTheFirst) {
  const LoadWindow trace = OneLayerTrace(kTiny);
  const std::vector<LoadWindow> windows = CutWindows(trace, 1).value();
  const Placement start = ContiguousOn(2, 2, trace.shape());
  const SlowingClock slowing;
  ReplayContext context;
  context.clock = &slowing;
  const PolicyReplay all = ReplayPolicy("random", {windows, &start}, context).value();
  EXPECT_DOUBLE_EQ(all.cycles[0].plan_ms, 1.0);
  EXPECT_DOUBLE_EQ(all.cycles[3].plan_ms, 7.0);
  EXPECT_DOUBLE_EQ(all.plan_ms, 5.0);  // of 3, 5, 7
  const SlowingClock again;
  context.clock = &again;
  const std::span<const LoadWindow> two(windows.data(), 2);
  EXPECT_DOUBLE_EQ(ReplayPolicy("random", {two, &start}, context)->plan_ms, 1.0);
}

TEST(Replay, FiguresAreThoseOfThePlacementsInForce) {
  for (int seed = 0; seed < Scaled(8); ++seed) {
    const LoadShape shape{9, 2, 3, 12};
    const std::vector<LoadWindow> windows = CutWindows(RandomTrace(shape, seed), 2).value();
    const Placement start = ContiguousOn(4, 4, shape);
    for (const std::string& policy : AllReplayPolicies()) {
      SCOPED_TRACE(policy + ", seed " + std::to_string(seed));
      Record record;
      const PolicyReplay replay = ReplayPolicy(policy, {windows, &start}, record.Context()).value();
      ASSERT_EQ(record.placements.size(), 3U);
      double planned = 0.0;
      std::vector<double> next;
      std::vector<int64_t> moves;
      int duplicates = 0;
      for (int t = 0; t < 3; ++t) {
        const Placement& placement = record.placements[t];
        for (int layer = 0; layer < 3; ++layer) {
          for (int bin = 0; bin < 2; ++bin) {
            planned += RankImbalance(placement, windows[t], bin, layer) / 18;
            next.push_back(RankImbalance(placement, windows[t + 1], bin, layer));
          }
        }
        moves.push_back(PairsGained(t == 0 ? start : record.placements[t - 1], placement));
        duplicates = std::max(duplicates, placement.CountDuplicates());
      }
      std::sort(next.begin(), next.end());
      double mean = 0.0;
      for (const double value : next) mean += value / 18;
      EXPECT_NEAR(replay.imbalance_plan, planned, 1e-9);
      EXPECT_NEAR(replay.imbalance_next, mean, 1e-9);
      EXPECT_NEAR(replay.imbalance_next_p95, next[16] * 0.85 + next[17] * 0.15, 1e-9);
      EXPECT_EQ(replay.first_moves, moves[0]);
      EXPECT_EQ(replay.moves, moves[1] + moves[2]);
      EXPECT_DOUBLE_EQ(replay.moves_per_cycle, static_cast<double>(moves[1] + moves[2]) / 2);
      EXPECT_EQ(replay.duplicates, duplicates);
    }
  }
}

TEST(Replay, ClairvoyantPlansOnTheWindowItIsScoredOn) {
  SyntheticSpec spec;
  spec.drift = SyntheticDrift::kAlternating;
  spec.period = 2;
  spec.num_bins = 24;
  const std::vector<LoadWindow> windows = CutWindows(*MakeSyntheticTrace(spec), 2).value();
  const Placement start = ContiguousOn(8, 9, windows[0].shape());
  const PolicyReplay blind = ReplayPolicy("steelyard", {windows, &start}).value();
  const PolicyReplay seeing = ReplayPolicy(kClairvoyant, {windows, &start}).value();
  EXPECT_EQ(seeing.policy, "clairvoyant");
  EXPECT_LT(seeing.imbalance_next, 1.05);
  EXPECT_GT(blind.imbalance_next, seeing.imbalance_next + 0.02);
  EXPECT_GT(seeing.imbalance_plan,
            seeing.imbalance_next + 0.02);  // made for the next window, not for this one
}

TEST(Replay, BusiestRankIsTheOneThatReceivesMost) {
  const LoadShape shape{1, 1, 1, 6};
  const Placement from = ContiguousOn(2, 4, shape);  // 0 1 2 3 | 4 5 0 1
  const Placement to =
      Placement::Create(from.topology(), 6, {4, 5, 2, 3, 0, 1, 2, 2}, DuplicateRule::kAllow)
          .value();
  EXPECT_EQ(CountMoves(from, to), 3);
  EXPECT_EQ(BusiestRankMoves(from, to), 2);  // experts 4 and 5 to rank 0; 2 to rank 1, once
}

TEST(Replay, HigherPricesMoveLess) {
  SyntheticSpec spec;
  spec.drift = SyntheticDrift::kOneWay;
  const std::vector<LoadWindow> windows = CutWindows(*MakeSyntheticTrace(spec), 4).value();
  const Placement start = ContiguousOn(8, 9, windows[0].shape());
  const std::vector<double> prices = {0.0, 0.1, 0.3, 1.0, 10.0};
  const std::vector<FrontierPoint> points = ReplayFrontier(prices, {windows, &start}).value();
  ASSERT_EQ(points.size(), prices.size());
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].price, prices[i]);
    if (i > 0) {
      EXPECT_LE(points[i].moves, points[i - 1].moves) << prices[i];
    }
  }
  EXPECT_GT(points.front().moves, 2 * points.back().moves);
  EXPECT_LT(points.front().imbalance_next, points.back().imbalance_next);
}

TEST(Replay, LimitsBindSteelyardAlone) {
  const LoadShape shape{8, 1, 2, 12};
  const std::vector<LoadWindow> windows = CutWindows(RandomTrace(shape, 1), 2).value();
  const Placement start = ContiguousOn(4, 4, shape);
  ReplayInput input{windows, &start};
  const int64_t free = ReplayPolicy("deepseek", input)->first_moves;
  input.plan.limits.moves = 3;
  EXPECT_EQ(ReplayPolicy("deepseek", input)->first_moves, free);
  EXPECT_LE(ReplayPolicy("steelyard", input)->first_moves, 3);
}

TEST(Replay, RefusesWhatCannotBeScored) {
  const LoadWindow trace = OneLayerTrace(kTiny);
  EXPECT_EQ(CutWindows(trace, 0).status().message(),
            "bins_per_window is 0, but must be at least 1");
  EXPECT_EQ(CutWindows(trace, 3).status().message(),
            "5 bins in windows of 3 are 1 window, but a plan is scored on the window after it: two "
            "are needed");
  EXPECT_EQ(CutWindows(trace, 6).status().message(),
            "5 bins in windows of 6 are 0 windows, but a plan is scored on the window after it: "
            "two are needed");
}

TEST(Replay, FailuresNamePolicyAndWindow) {
  const LoadWindow trace = OneLayerTrace(kTiny);
  const std::vector<LoadWindow> windows = CutWindows(trace, 1).value();
  const Placement start = ContiguousOn(2, 2, trace.shape());
  EXPECT_FALSE(IsReplayPolicy("snake"));
  EXPECT_TRUE(IsReplayPolicy(kClairvoyant));
  EXPECT_EQ(ReplayPolicy("snake", {windows, &start}).status().code(), StatusCode::kInvalidArgument);
  ReplayContext context;
  context.after_plan = [](int window_idx, const Placement&) {
    return window_idx == 2 ? DataLoss("the disk is full") : Status::Ok();
  };
  EXPECT_EQ(ReplayPolicy("random", {windows, &start}, context).status().message(),
            "policy random, window 2: the disk is full");
  EXPECT_EQ(ReplayFrontier(std::vector<double>{0.5}, {windows, &start}, context).status().message(),
            "price 0.5: policy steelyard, window 2: the disk is full");
}

}  // namespace
}  // namespace steelyard
