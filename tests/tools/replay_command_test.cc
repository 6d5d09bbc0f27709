// `steelyard replay` as scripts use it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "command_runner.h"
#include "steelyard/placement/placement_file.h"

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ReplayCommand : public CommandTest {
 protected:
  // Nine bins of two layers and eight experts; two neighbours are hot, the others waver.
  void SetUp() override {
    Json bins = Json::array();
    for (int bin = 0; bin < 9; ++bin) {
      Json layers = Json::array();
      for (int layer = 0; layer < 2; ++layer) {
        Json experts = Json::array();
        for (int expert = 0; expert < 8; ++expert) {
          const bool hot = expert / 2 == layer;
          experts.push_back((hot ? 90 : 10) + (bin * expert) % 5);
        }
        layers.push_back(experts);
      }
      bins.push_back(layers);
    }
    Write("t.json", bins.dump());
  }

  std::vector<std::string> Args(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"replay", "--trace", "t.json", "--ranks", "4"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(ReplayCommand, PrintsTheDocumentedKeysInOrder) {
  const OrderedJson json = RunJson(Args({"--json", "--bins-per-window", "2"}));
  EXPECT_THAT(KeysOf(json), ElementsAre("policies", "setup", "windows"));
  std::vector<std::string> names;
  for (const OrderedJson& policy : json["policies"]) {
    names.push_back(policy["policy"]);
    EXPECT_THAT(KeysOf(policy),
                ElementsAre("policy", "imbalance_plan", "imbalance_next", "imbalance_next_p95",
                            "first_moves", "moves", "moves_per_cycle", "plan_ms", "duplicates"));
    EXPECT_EQ(json["windows"][names.back()]["moves"].size(), 3U);
  }
  EXPECT_THAT(names,
              ElementsAre("static", "random", "deepseek", "vllm", "swift", "flashlb", "steelyard"));
  EXPECT_EQ(json["policies"][0]["first_moves"], 0);
  EXPECT_LT(json["policies"][6]["imbalance_next"], json["policies"][0]["imbalance_next"]);
}

TEST_F(ReplayCommand, DumpsThePlacementAfterEachPlan) {
  const OrderedJson json = RunJson(Args({"--json", "--bins-per-window", "3", "--policies",
                                         "clairvoyant,random", "--dump", "made/for/it"}));
  ASSERT_EQ(json["policies"].size(), 2U);
  for (const OrderedJson& policy : json["policies"]) {
    const std::filesystem::path folder = Path("made/for/it") / policy["policy"];
    std::vector<Placement> placements;
    const Topology topology = Topology::Create(4, 3).value();
    placements.push_back(Placement::Contiguous(topology, 2, 8).value());
    for (const char* name : {"window_0000.json", "window_0001.json"}) {
      placements.push_back(ReadPlacementFile(folder / name, DuplicateRule::kRefuse).value());
    }
    EXPECT_FALSE(std::filesystem::exists(folder / "window_0002.json"));
    EXPECT_EQ(policy["first_moves"], CountMoves(placements[0], placements[1]));
    EXPECT_EQ(policy["moves"], CountMoves(placements[1], placements[2]));
    EXPECT_EQ(policy["moves_per_cycle"], policy["moves"]);
  }
}

TEST_F(ReplayCommand, SeveralPricesMakeAFrontier) {
  const OrderedJson json =
      RunJson(Args({"--json", "--policies", "steelyard", "--price", "0.5,0,5"}));
  ASSERT_EQ(json["frontier"].size(), 3U);
  EXPECT_EQ(json["frontier"][0]["moves"], json["policies"][0]["moves"]);
  EXPECT_EQ(json["setup"]["price"], 0.5);
  EXPECT_GE(json["frontier"][1]["moves"], json["frontier"][0]["moves"]);
  EXPECT_GE(json["frontier"][0]["moves"], json["frontier"][2]["moves"]);
  EXPECT_EQ(RunJson(Args({"--json", "--policies", "static"})).count("frontier"), 0U);
}

TEST_F(ReplayCommand, CostModelSaysWhatIsSavedAndSpent) {
  const OrderedJson cost =
      RunJson(Args({"--json", "--policies", "static,steelyard", "--expert-bytes", "1000",
                    "--link-gbps", "100", "--step-ms", "2", "--tokens-per-step", "16"}))["cost"];
  EXPECT_EQ(cost["policies"][0]["net_ms"], 0.0);
  EXPECT_EQ(cost["policies"][0]["pays"], false);
  EXPECT_TRUE(cost["policies"][0]["break_even_steps"].is_null());
  EXPECT_GT(cost["policies"][1]["saved_ms_per_window"], 0.0);
  EXPECT_GT(cost["policies"][1]["first_spent_ms"], 0.0);
  EXPECT_EQ(cost["policies"][1]["pays"], true);
}

TEST_F(ReplayCommand, TablesAndReportsTellTheSame) {
  const CommandResult result =
      Run(Args({"--policies", "static,steelyard", "--out", "r.json", "--report", "r.html"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\npolicy     "));
  EXPECT_THAT(result.out, HasSubstr("report written to r.json\nreport written to r.html\n"));
  const OrderedJson json = OrderedJson::parse(Read("r.json"));
  const std::string next =
      fmt::format("{:.4f}", json["policies"][1]["imbalance_next"].get<double>());
  EXPECT_THAT(result.out, HasSubstr(next));
  EXPECT_THAT(Read("r.html"), HasSubstr(next));
}

TEST_F(ReplayCommand, TracesThatAreMadeUpAreTheSameForASeedAndCanBeReplayed) {
  const auto record = [this](const std::string& out, const std::string& seed) {
    const CommandResult result =
        Run({"record", "--synthetic", "one-way", "--layers", "2", "--experts", "16", "--bins", "12",
             "--tokens", "4096", "--seed", seed, "--out", out});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return Read(out);
  };
  const std::string first = record("a.npy", "1");
  EXPECT_EQ(first, record("b.npy", "1"));
  EXPECT_NE(first, record("c.npy", "2"));
  const OrderedJson json = RunJson({"replay", "--json", "--trace", "a.npy", "--ranks", "4",
                                    "--policies", "static,steelyard", "--bins-per-window", "2"});
  EXPECT_EQ(json["setup"]["num_bins"], 12);
  EXPECT_LT(json["policies"][1]["imbalance_next"], json["policies"][0]["imbalance_next"]);
  const CommandResult refused = Run({"record", "--synthetic", "sideways", "--out", "d.npy"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_EQ(refused.last_error_line(),
            "steelyard: --synthetic: 'sideways' is not one of none, one-way, alternating, "
            "switch-and-return, mixture (steelyard record --help tells more)");
}

TEST_F(ReplayCommand, ARefusalIsOneLineThatNamesWhatIsWrong) {
  Write("taken", "");
  struct Row {
    std::vector<std::string> more;
    int exit_code;
    std::string message;
  };
  for (const Row& row : {
           Row{{"--policies", "static,snake"}, 2, "--policies: snake: not one of all, "},
           Row{{"--bins-per-window", "0"}, 2, "--bins-per-window: 0: not a whole number from 1"},
           Row{{"--bins-per-window", "10"},
               1,
               "t.json: 9 bins in windows of 10 are 0 windows, but a plan is scored on the window "
               "after it: two are needed"},
           Row{{"--dump", "taken"}, 1, "--dump taken: "},
           Row{{"--report", "no/such/r.html"}, 1, "--report no/such/r.html: "},
           Row{{"--out", "."}, 1, "--out .: is a folder"},
           Row{{"--price", "0.1,-1"}, 2, "--price: -1: not a finite number from 0 on"},
           Row{{"--policy", "static"}, 2, "--policy"},
           Row{{"--link-gbps", "100", "--step-ms", "1"},
               2,
               "--link-gbps, --step-ms, --tokens-per-step and --expert-bytes make the cost model"},
           Row{{"--expert-bytes", "9", "--link-gbps", "0", "--step-ms", "1", "--tokens-per-step",
                "1"},
               2,
               "--link-gbps: 0: not a number from 1e-09 to 1e+15"},
       }) {
    const CommandResult result = Run(Args(row.more));
    EXPECT_EQ(result.exit_code, row.exit_code) << row.message << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(row.message));
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(ReplayCommand, TheSameReplayGivesTheSamePlacementsWithAnyThreads) {
  for (const char* threads : {"1", "3"}) {
    RunJson(Args({"--json", "--dump", std::string("by") + threads, "--threads", threads}));
  }
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("by1"))) {
    if (!entry.is_regular_file()) continue;
    const std::filesystem::path name = entry.path().lexically_relative(Path("by1"));
    EXPECT_EQ(Read((std::filesystem::path("by1") / name).string()),
              Read((std::filesystem::path("by3") / name).string()))
        << name;
  }
}

}  // namespace
}  // namespace steelyard
