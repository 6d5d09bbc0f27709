#include "observe/replay_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "observe/replay_page.h"

namespace steelyard {
namespace {

using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> KeysOf(const OrderedJson& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

PolicyReplay Replay(const std::string& policy, double next) {
  PolicyReplay replay;
  replay.policy = policy;
  replay.imbalance_plan = 1.25;
  replay.imbalance_next = next;
  replay.imbalance_next_p95 = 2.0;
  replay.first_moves = 10;
  replay.moves = 6;
  replay.moves_per_cycle = 3.0;
  replay.plan_ms = 0.5;
  replay.cycles = {{.imbalance_next = next, .moves = 10},
                   {.imbalance_next = next, .moves = 2},
                   {.imbalance_next = next, .moves = 4}};
  return replay;
}

ReplayReport Report() {
  ReplayReport report;
  report.setup = {"<trace>.npy", {8, 1, 3, 16}, 2, Topology::Create(4, 5).value(), 0.3, false};
  report.policies = {Replay("static", 1.75), Replay("deepseek", 1.5), Replay("steelyard", 1.25),
                     Replay("clairvoyant", 1.0)};
  return report;
}

ReplayReport FullReport() {
  ReplayReport report = Report();
  report.frontier = {{0.1, 1.2, 1.9, 12, 9, 4.5}, {1.0, 1.4, 1.9, 8, 3, 1.5}};
  report.cost_model = CostModel{1000, 100, 3, 64, 2};
  report.costs.resize(4);
  report.costs[2] = {.steps_per_window = 7, .saved_ms_per_window = 2, .net_ms = 5, .pays = true};
  report.costs[0].break_even_steps = std::numeric_limits<double>::infinity();
  return report;
}

TEST(ReplayReport, JsonHasTheDocumentedKeysInOrder) {
  const OrderedJson json = ReplayJson(Report());
  EXPECT_THAT(KeysOf(json), ElementsAre("policies", "setup", "windows"));
  ASSERT_EQ(json["policies"].size(), 4U);
  EXPECT_THAT(KeysOf(json["policies"][0]),
              ElementsAre("policy", "imbalance_plan", "imbalance_next", "imbalance_next_p95",
                          "first_moves", "moves", "moves_per_cycle", "plan_ms", "duplicates"));
  EXPECT_EQ(json["policies"][2]["imbalance_next"], 1.25);
  EXPECT_EQ(json["windows"]["deepseek"]["moves"], OrderedJson({10, 2, 4}));
  EXPECT_EQ(json["setup"]["num_windows"], 4);
  const OrderedJson full = ReplayJson(FullReport());
  EXPECT_THAT(KeysOf(full), ElementsAre("policies", "setup", "windows", "frontier", "cost"));
  EXPECT_EQ(full["frontier"][1]["price"], 1.0);
  EXPECT_EQ(full["cost"]["policies"][2]["pays"], true);
  EXPECT_TRUE(full["cost"]["policies"][0]["break_even_steps"].is_null());
}

TEST(ReplayReport, SaysHowManyBytesMoveWhereThoseOfAnExpertAreKnown) {
  ReplayReport report = Report();
  report.setup.expert_bytes = 500'000;
  const OrderedJson json = ReplayJson(report);
  EXPECT_EQ(json["policies"][1]["first_bytes"], 5'000'000);
  EXPECT_EQ(json["policies"][1]["bytes"], 3'000'000);
  EXPECT_THAT(ReplayText(report), ContainsRegex("duplicates +MB/cycle\n"));
  EXPECT_THAT(ReplayText(report), ContainsRegex("steelyard .* 0 +1.5\n"));
}

TEST(ReplayReport, TextHasALineForEachPolicyPriceAndCost) {
  const std::string text = ReplayText(FullReport());
  EXPECT_THAT(text, HasSubstr("<trace>.npy: 8 bins x 1 phase x 3 layers x 16 experts in 4 windows "
                              "of 2 bins on 4 ranks x 5 slots on 1 node\n"));
  EXPECT_THAT(text, ContainsRegex("steelyard +1.2500  1.2500    2.0000 +10 +6 +3.0 +0.50 +0\n"));
  EXPECT_THAT(text, ContainsRegex("\n0.1 +1.2000 +1.9000 +12 +9 +4.5\n"));
  EXPECT_THAT(text, ContainsRegex("\nsteelyard +2.00 +0.00 +0.00 +5.00 .*yes\n"));
  EXPECT_THAT(ReplayText(Report()), Not(HasSubstr("prices")));
}

TEST(ReplayPage, NeedsNothingFromElsewhere) {
  const std::string page = ReplayPage(FullReport());
  for (const char* outside : {"http", "src=", "href", "@import", "url(", "<script"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(page, HasSubstr("&lt;trace&gt;.npy"));
  EXPECT_THAT(page, Not(HasSubstr("<trace>")));
}

TEST(ReplayPage, HasPlotsAndMarksTheBestThatForesawNothing) {
  const std::string page = ReplayPage(FullReport());
  for (const char* text :
       {"Imbalance on the window after each plan, without static and random", "Moves of each plan",
        "Imbalance against moves", "steelyard, by price", "Does balancing pay?",
        "imbalance (max / mean rank load)", "<td class=\"best\">1.2500</td>"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(page, Not(HasSubstr("class=\"best\">1.0000")));
  EXPECT_THAT(ReplayPage(Report()), Not(HasSubstr("Does balancing pay?")));
}

}  // namespace
}  // namespace steelyard
