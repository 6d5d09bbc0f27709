// The parts behind ranks that differ and limits on moves: ledger, fitting, budget.
#include <gtest/gtest.h>

#include <climits>

#include "plan/steelyard_budget.h"
#include "plan/steelyard_fit.h"
#include "plan/steelyard_ledger.h"
#include "plan/steelyard_test_util.h"

namespace steelyard {
namespace {

constexpr LayerShape kSixOnThree = {.num_experts = 6, .num_ranks = 3, .slots_per_rank = 3};
// Experts 0, 1 and 2 are held by two ranks each.
const std::vector<int32_t> kInForce = {0, 1, 2, 0, 3, 4, 1, 2, 5};

MoveLedger LedgerOf(const MoveLimits& limits, const Topology& topology) {
  MoveLedger ledger;
  ledger.Prepare(kSixOnThree, topology);
  ledger.Begin(limits, RowOf(kSixOnThree, kInForce));
  ledger.Assign(kInForce);
  return ledger;
}

TEST(MoveLedger, CountsWhatARankReceives) {
  const Topology topology = Topology::Create(3, 3).value();
  MoveLedger ledger = LedgerOf({.per_receiving_rank = 1}, topology);
  const Exchange first = {.rank = 0, .out = 0, .in = 5};
  ASSERT_TRUE(ledger.Allows({&first, 1}));
  ledger.Note(first);
  EXPECT_EQ(ledger.moves(), 1);
  const Exchange second = {.rank = 0, .out = 1, .in = 4};
  EXPECT_FALSE(ledger.Allows({&second, 1}));
  EXPECT_EQ(ledger.blocked(), BindingLimit::kReceivingRank);
  const Exchange other = {.rank = 0, .out = 5, .in = 4};
  EXPECT_TRUE(ledger.Allows({&other, 1})) << "one arrival for another";
  EXPECT_EQ(ledger.moves(), 1) << "asking changes nothing";
}

TEST(MoveLedger, FindsASourceForEachMoveThatAnotherDoesNotNeed) {
  // Rank 1 wants 2 and 5. Expert 5 comes from rank 2 alone, so 2 must come from rank 0.
  const Topology topology = Topology::Create(3, 3).value();
  MoveLedger ledger = LedgerOf({.per_rank_pair = 1}, topology);
  ledger.Note({.rank = 1, .out = 3, .in = 2});
  const Exchange five = {.rank = 1, .out = 4, .in = 5};
  EXPECT_TRUE(ledger.Allows({&five, 1}));
  ledger.Note(five);
  EXPECT_TRUE(ledger.IsWithin());
  const Exchange one = {.rank = 1, .out = 0, .in = 1};
  EXPECT_FALSE(ledger.Allows({&one, 1})) << "three moves from two ranks";
  EXPECT_EQ(ledger.blocked(), BindingLimit::kRankPair);
}

TEST(MoveLedger, AnExpertCrossesToANodeOnce) {
  const Topology topology =
      Topology::Create({.num_ranks = 4, .slots_per_rank = 2, .num_nodes = 2}).value();
  const LayerShape shape = {.num_experts = 8, .num_ranks = 4, .slots_per_rank = 2};
  const std::vector<int32_t> slots = {0, 1, 2, 3, 4, 5, 6, 7};
  MoveLedger ledger;
  ledger.Prepare(shape, topology);
  ledger.Begin({.across_nodes = 1}, RowOf(shape, slots));
  ledger.Assign(slots);
  const Exchange inside = {.rank = 0, .out = 0, .in = 2};
  EXPECT_TRUE(ledger.Allows({&inside, 1}));
  ledger.Note(inside);
  ledger.Note({.rank = 0, .out = 1, .in = 4});
  const Exchange relayed = {.rank = 1, .out = 2, .in = 4};
  EXPECT_TRUE(ledger.Allows({&relayed, 1})) << "rank 0 passes it on";
  const Exchange crossing = {.rank = 1, .out = 2, .in = 5};
  EXPECT_FALSE(ledger.Allows({&crossing, 1}));
  EXPECT_EQ(ledger.blocked(), BindingLimit::kNodes);
}

struct Fitted {
  Status status;
  std::vector<int32_t> slots;
};

Fitted Fit(const Topology& topology, const LayerShape& in_force_shape,
           const std::vector<int32_t>& in_force, const std::vector<double>& loads,
           const MoveLimits& limits = {}) {
  const LayerShape shape = {.num_experts = static_cast<int>(loads.size()),
                            .num_ranks = topology.num_ranks(),
                            .slots_per_rank = topology.slots_per_rank()};
  LayerFitter fitter;
  fitter.Prepare(shape, topology);
  MoveLedger ledger;
  ledger.Prepare(shape, topology);
  ledger.Begin(limits, RowOf(in_force_shape, in_force));
  Fitted fitted = {.status = {}, .slots = std::vector<int32_t>(shape.num_slots())};
  fitted.status =
      fitter.Fit(loads, RowOf(in_force_shape, in_force), &ledger, INT_MAX, fitted.slots);
  return fitted;
}

const std::vector<double> kSixLoads = {12, 8, 6, 5, 4, 3};

TEST(LayerFitter, GivesTheExpertsOfADeadRankToTheOthers) {
  // Rank 1 had the only copies of 3 and 4. The heavier, 3, goes to rank 2 with 4 + 3 + 3, cooler
  // than rank 0 with 12 + 4 + 3, over its copy of 2, the lightest that another takes over; then 4
  // goes there too, over its copy of 1.
  const Topology topology =
      Topology::Create({.num_ranks = 3, .slots_per_rank = 3, .dead_ranks = {1}}).value();
  const Fitted fitted = Fit(topology, kSixOnThree, kInForce, kSixLoads);
  ASSERT_TRUE(fitted.status.ok());
  EXPECT_EQ(fitted.slots,
            (std::vector<int32_t>{0, 1, 2, kClosedSlot, kClosedSlot, kClosedSlot, 4, 3, 5}));
}

TEST(LayerFitter, ARankWithFewerSlotsDropsARedundantCopyAndOneWithMoreTakesTheHeaviest) {
  const Topology topology =
      Topology::Create({.num_ranks = 3, .slots_per_rank = 4, .slots_of_rank = {2, 3, 4}}).value();
  const Fitted fitted = Fit(topology, kSixOnThree, kInForce, kSixLoads);
  ASSERT_TRUE(fitted.status.ok());
  EXPECT_EQ(fitted.slots,
            (std::vector<int32_t>{0, 1, kClosedSlot, kClosedSlot,  // 2 is the lightest redundant
                                  0, 3, 4, kClosedSlot,            //
                                  1, 2, 5, 0}));                   // 12 / 2 is the heaviest copy
}

TEST(LayerFitter, ARankThatIsNewIsFilled) {
  const Topology topology = Topology::Create(2, 2).value();
  const LayerShape one = {.num_experts = 3, .num_ranks = 1, .slots_per_rank = 3};
  const Fitted fitted = Fit(topology, one, {2, 1, 0}, {9, 5, 4});
  ASSERT_TRUE(fitted.status.ok());
  // 2, the lightest, has no slot any more on rank 0 and goes to rank 1, then 0 is the heaviest.
  EXPECT_EQ(fitted.slots, (std::vector<int32_t>{0, 1, 2, 0}));
}

TEST(LayerFitter, WhatALimitMakesImpossibleIsRefusedByName) {
  const Topology dead =
      Topology::Create({.num_ranks = 3, .slots_per_rank = 3, .dead_ranks = {1}}).value();
  EXPECT_EQ(Fit(dead, kSixOnThree, kInForce, kSixLoads, {.per_receiving_rank = 0}).status.message(),
            "expert 3 has no live slot: the limit on moves to a rank forbids every move to it");
  const Topology more = Topology::Create(3, 4).value();
  const Fitted fitted = Fit(more, kSixOnThree, kInForce, kSixLoads, {.per_rank_pair = 0});
  EXPECT_EQ(fitted.status.message(),
            "a slot of rank 0 would stay empty: the limit on moves between two ranks forbids every "
            "move to it");
  EXPECT_EQ(fitted.status.code(), StatusCode::kFailedPrecondition);
}

/// Objectives in tenths of a mean rank load.
LayerCurve CurveOf(const std::vector<std::pair<int, int>>& objectives_and_moves) {
  LayerCurve curve;
  for (const auto& [tenths, moves] : objectives_and_moves) {
    curve.points.push_back({.objective = 0.1 * LayerState::kMeanLoad * tenths, .moves = moves});
  }
  return curve;
}

TEST(ChooseWithin, SpendsMovesWhereTheyBuyMost) {
  // Per move: the first layer 4, 4, then 1; the second 3, then 2 for two.
  const std::vector<LayerCurve> curves = {CurveOf({{20, 0}, {16, 1}, {12, 2}, {11, 3}}),
                                          CurveOf({{20, 0}, {17, 1}, {13, 3}})};
  const auto chosen = [&](int64_t moves) { return ChooseWithin(moves, curves); };
  EXPECT_EQ(chosen(0), (std::vector<size_t>{0, 0}));
  EXPECT_EQ(chosen(1), (std::vector<size_t>{1, 0})) << "half of the way to the best point";
  EXPECT_EQ(chosen(3), (std::vector<size_t>{2, 1}));
  EXPECT_EQ(chosen(4), (std::vector<size_t>{3, 1})) << "two more are not there, but one";
  EXPECT_EQ(chosen(5), (std::vector<size_t>{2, 2}));
  EXPECT_EQ(chosen(100), (std::vector<size_t>{3, 2}));
}

TEST(ChooseWithin, WhatIsDueAnyhowIsSpentFirst) {
  const std::vector<LayerCurve> curves = {CurveOf({{20, 0}, {10, 2}}), CurveOf({{20, 3}})};
  EXPECT_EQ(ChooseWithin(4, curves), (std::vector<size_t>{0, 0}));
  EXPECT_EQ(ChooseWithin(5, curves), (std::vector<size_t>{1, 0}));
}

TEST(ChooseWithin, RepairServesWhereThePlanFromScratchTakesTooManyMoves) {
  LayerCurve curve = CurveOf({{30, 0}, {20, 2}});
  curve.price = 0.3 * LayerState::kMeanLoad;  // that the plan from scratch does not pay
  curve.has_scratch = true;
  curve.scratch = {.objective = 1.1 * LayerState::kMeanLoad, .moves = 9};
  EXPECT_EQ(ChooseWithin(8, {&curve, 1}), (std::vector<size_t>{1}));
  EXPECT_EQ(ChooseWithin(9, {&curve, 1}), (std::vector<size_t>{2}));
}

TEST(LimitReplacedDuplicates, GrantsThemToTheLowestLayersAndNamesTheOneThatIsDueTooMuch) {
  std::vector<LayerCurve> curves = {CurveOf({{20, 2}}), CurveOf({{20, 3}})};
  curves[0].num_replaced = 2;
  curves[1].num_replaced = 1;
  std::vector<int> max_replaced(2);
  const MoveBudget budget = {.moves = 3, .limit = BindingLimit::kMoves};
  EXPECT_TRUE(LimitReplacedDuplicates(budget, curves, max_replaced).value());
  EXPECT_EQ(max_replaced, (std::vector<int>{1, 0}));
  const Result<bool> refused =
      LimitReplacedDuplicates({.moves = 1, .limit = BindingLimit::kBytes}, curves, max_replaced);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().message(),
            "layer 1: experts without a live slot and slots without an expert take the plan to 2 "
            "moves, but the limit on bytes allows 1");
}

TEST(MoveBudget, IsTheTighterOfMovesAndBytes) {
  PlanOptions options;
  options.expert_bytes = 10;
  options.limits = {.moves = 5, .bytes = 49};
  EXPECT_EQ(MoveBudget::Of(options).moves, 4);
  EXPECT_EQ(MoveBudget::Of(options).limit, BindingLimit::kBytes);
  options.limits.bytes = 50;
  EXPECT_EQ(MoveBudget::Of(options).limit, BindingLimit::kMoves);
}

}  // namespace
}  // namespace steelyard
