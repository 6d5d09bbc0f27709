// `steelyard plan` and `steelyard inspect` as scripts use them.
#include <pty.h>

#include <array>

#include "command_runner.h"
#include "steelyard/placement/placement_file.h"
#include "trace/npy.h"

namespace steelyard {
namespace {

using Keys = std::vector<std::string>;

class PlanCommand : public CommandTest {
 protected:
  void SetUp() override { Write("l.json", "[[40,1,1,1,1,1,1,2],[3,3,3,3,3,3,3,3]]"); }
};

TEST_F(PlanCommand, PrintsTheDocumentedKeysInOrder) {
  const OrderedJson plan = RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4"});
  EXPECT_EQ(KeysOf(plan),
            (Keys{"policy", "plan_ms", "moves", "bytes", "imbalance_before", "imbalance_after",
                  "lower_bound", "duplicates", "digest", "layers"}));
  ASSERT_EQ(plan["layers"].size(), 2U);
  EXPECT_EQ(KeysOf(plan["layers"][0]), (Keys{"layer", "imbalance_before", "imbalance_after",
                                             "lower_bound", "moves", "reason", "predictor"}));
  EXPECT_EQ(plan["policy"], "steelyard");
  EXPECT_TRUE(plan["bytes"].is_null());
  EXPECT_EQ(plan["moves"].get<int>(),
            plan["layers"][0]["moves"].get<int>() + plan["layers"][1]["moves"].get<int>());
  EXPECT_LT(plan["imbalance_after"], plan["imbalance_before"]);
}

TEST_F(PlanCommand, BytesAreMovesTimesExpertBytes) {
  const OrderedJson plan =
      RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4", "--expert-bytes", "1000"});
  EXPECT_GT(plan["moves"].get<int>(), 0);
  EXPECT_EQ(plan["bytes"].get<int>(), plan["moves"].get<int>() * 1000);
}

TEST_F(PlanCommand, WrittenPlacementIsValidAndPlanningFromItMovesNothing) {
  RunJson(
      {"plan", "--json", "--loads", "l.json", "--ranks", "4", "--nodes", "2", "--out", "p.json"});
  const Result<Placement> placement = ReadPlacementFile(Path("p.json"), DuplicateRule::kRefuse);
  ASSERT_TRUE(placement.ok()) << placement.status().message();
  EXPECT_EQ(placement->topology().num_nodes(), 2);
  EXPECT_EQ(placement->topology().slots_per_rank(), 3);  // ceil(8 / 4) + 1
  const OrderedJson again =
      RunJson({"plan", "--json", "--loads", "l.json", "--current", "p.json", "--out", "q.json"});
  EXPECT_EQ(again["moves"], 0);
  EXPECT_EQ(Read("p.json"), Read("q.json"));
  RunJson({"plan", "--json", "--loads", "l.json", "--current", "p.json", "--nodes", "4", "--out",
           "q.json"});
  EXPECT_EQ(ReadPlacementFile(Path("q.json"), DuplicateRule::kRefuse)->topology().num_nodes(), 4);
}

TEST_F(PlanCommand, NpyAndJsonOfTheSameLoadsGiveTheSamePlan) {
  const std::vector<uint32_t> loads = {40, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  const size_t shape[] = {1, 2, 8};
  ASSERT_TRUE(WriteNpyFile(Path("l.npy"), shape, std::span<const uint32_t>(loads)).ok());
  const OrderedJson a = RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4"});
  const OrderedJson b =
      RunJson({"plan", "--json", "--loads", "l.npy", "--ranks", "4", "--threads", "2"});
  EXPECT_EQ(a["digest"], b["digest"]);
  EXPECT_EQ(a["layers"], b["layers"]);
}

TEST_F(PlanCommand, DuplicatesInTheCurrentPlacementAreTakenAndReported) {
  const Result<Topology> topology = Topology::Create(2, 5, 1);
  const std::vector<int32_t> row = {0, 0, 1, 2, 3, 4, 5, 6, 7, 1};
  std::vector<int32_t> slots = row;
  slots.insert(slots.end(), row.begin(), row.end());
  const Result<Placement> placement = Placement::Create(*topology, 8, slots, DuplicateRule::kAllow);
  ASSERT_TRUE(placement.ok());
  ASSERT_TRUE(WritePlacementFile(Path("dup.json"), *placement).ok());
  EXPECT_EQ(RunJson({"inspect", "--json", "dup.json"})["duplicates"], 2);
  const auto plan = [&](const std::string& policy) {
    return RunJson({"plan", "--json", "--loads", "l.json", "--current", "dup.json", "--policy",
                    policy})["duplicates"];
  };
  EXPECT_EQ(plan("static"), 2);
  EXPECT_EQ(plan("steelyard"), 0);
}

TEST_F(PlanCommand, OptionsOfTheRanksMakeThePlacementsTopology) {
  RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4", "--nodes", "2", "--out", "p.json",
           "--policy", "static"});
  const auto ranks = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = {"plan",  "--json", "--loads",   "l.json",
                                     "--out", "q.json", "--current", "p.json"};
    args.insert(args.end(), more.begin(), more.end());
    RunJson(args);
    return ReadPlacementFile(Path("q.json"), DuplicateRule::kRefuse).value().topology();
  };
  EXPECT_EQ(ranks({}), Topology::Create(4, 3, 2).value());
  EXPECT_EQ(ranks({"--nodes", "4"}), Topology::Create(4, 3, 4).value());
  EXPECT_EQ(ranks({"--slots", "4"}), Topology::Create(4, 4, 2).value());
  EXPECT_EQ(ranks({"--slots", "4,4,4,4"}), Topology::Create(4, 4, 2).value());
  EXPECT_EQ(ranks({"--ranks", "6"}), Topology::Create(6, 3, 2).value());
}

TEST_F(PlanCommand, LimitsCostsAndPredictorsAreTaken) {
  const std::vector<std::string> plan = {"plan", "--json", "--loads", "l.json", "--ranks", "4"};
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--split", "weighted"},
           {"--predictor", "phases"},
           {"--rank-cost", "active"},
           {"--rank-cost", "active", "--split", "weighted"},
           {"--rank-cost", "1,0.5,0,2"},
           {"--max-bytes", "100000", "--expert-bytes", "10"},
           {"--max-moves", "100", "--max-moves-per-pair", "9", "--max-moves-per-rank", "9",
            "--max-moves-across-nodes", "9"}}) {
    std::vector<std::string> args = plan;
    args.insert(args.end(), more.begin(), more.end());
    EXPECT_EQ(RunJson(args)["policy"], "steelyard") << more[0];
  }
}

TEST_F(PlanCommand, TextIsATableWithALineForEachLayer) {
  const CommandResult result = Run({"plan", "--loads", "l.json", "--ranks", "4"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out.rfind("layer  before", 0), 0U) << result.out;
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 5) << result.out;
}

// A plan that takes long enough for a bar leaves it on a line of its own.
TEST_F(PlanCommand, TheBarOnATerminalEndsBeforeTheTable) {
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    const bool ready = chdir(folder_.c_str()) == 0;
    if (ready) {
      execl(STEELYARD_BINARY, "steelyard", "plan", "--loads", "l.json", "--ranks", "512",
            "--policy", "flashlb", static_cast<char*>(nullptr));
    }
    _exit(127);
  }
  std::string shown;
  std::array<char, 4096> part{};
  for (ssize_t got = 0; (got = read(terminal, part.data(), part.size())) > 0;) {
    shown.append(part.data(), static_cast<size_t>(got));
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  close(terminal);
  EXPECT_EQ(status, 0) << shown;
  const size_t table = shown.find("layer  before");
  ASSERT_NE(table, std::string::npos) << shown;
  if (table > 0) {
    EXPECT_EQ(shown.rfind("\rplan     [", table), shown.rfind('\r', table - 3)) << shown;
    EXPECT_EQ(shown.substr(table - 2, 2), "\r\n") << shown;
  }
}

TEST_F(PlanCommand, OptionsMayStandInAConfigFile) {
  const OrderedJson given = RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4"});
  for (const std::string text :
       {"ranks = 4\n", "[plan]\nranks = 4\n", "[plan]\nranks = 4\n[run]\nranks = 2\n"}) {
    Write("c.toml", text);
    EXPECT_EQ(RunJson({"plan", "--json", "--loads", "l.json", "--config", "c.toml"})["digest"],
              given["digest"])
        << text;
  }
  Write("c.toml", "ranks = 4\nslots = [3, 3, 3, 3]\n");
  EXPECT_EQ(RunJson({"plan", "--json", "--loads", "l.json", "--config", "c.toml"})["digest"],
            given["digest"]);
  Write("c.toml", "ranks = 2\n");
  EXPECT_EQ(RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4", "--config",
                     "c.toml"})["digest"],
            given["digest"]);
}

TEST_F(PlanCommand, InspectSaysWhatAFileIs) {
  EXPECT_EQ(KeysOf(RunJson({"inspect", "--json", "l.json"})),
            (Keys{"kind", "valid", "num_bins", "num_phases", "num_layers", "num_experts",
                  "hottest_by_mean_expert"}));
  RunJson({"plan", "--json", "--loads", "l.json", "--ranks", "4", "--out", "p.json"});
  const OrderedJson placement = RunJson({"inspect", "--json", "p.json", "--loads", "l.json"});
  EXPECT_EQ(placement["kind"], "placement");
  EXPECT_EQ(placement["valid"], true);
  ASSERT_EQ(placement["rank_loads"].size(), 4U);
  const CommandResult text = Run({"inspect", "p.json"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_NE(text.out.find("rank 3 "), std::string::npos) << text.out;
}

TEST_F(PlanCommand, HelpTeaches) {
  const CommandResult all = Run({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  for (const std::string word : {"run", "plan", "inspect", "demo", "Examples:"}) {
    EXPECT_NE(all.out.find(word), std::string::npos) << word;
  }
  const CommandResult run = Run({"run", "--help"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_NE(run.out.find("--max-batch-tokens INT=512"), std::string::npos) << run.out;
}

}  // namespace
}  // namespace steelyard
