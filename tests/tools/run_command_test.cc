// `steelyard run` and `steelyard demo` as scripts use them.
#include <csignal>
#include <iterator>
#include <numeric>
#include <sstream>
#include <thread>

#include "command_runner.h"
#include "steelyard/placement/placement_file.h"
#include "trace/npy.h"

namespace steelyard {
namespace {

using Keys = std::vector<std::string>;

const Keys kSummaryKeys = {
    "model",      "ranks",   "slots", "balance",           "requests", "prompt_tokens",
    "new_tokens", "seconds", "steps", "tokens_per_second", "step_ms",  "imbalance",
    "windows",    "cycles",  "moves", "bytes_moved",       "stall_ms", "first_window_after_commit"};

class RunCommandTest : public CommandTest {
 protected:
  void SetUp() override { WriteRequests("r.jsonl", 12, 4); }

  static std::vector<std::string> Args(const std::vector<std::string>& more) {
    std::vector<std::string> args = {"run", "--model", "{model}", "--requests", "r.jsonl"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }

  static void ExpectSummary(const OrderedJson& summary) {
    Keys have = KeysOf(summary);
    Keys want = kSummaryKeys;
    std::sort(have.begin(), have.end());
    std::sort(want.begin(), want.end());
    EXPECT_EQ(have, want);
    EXPECT_EQ(KeysOf(summary["step_ms"]), (Keys{"p50", "p99", "max"}));
    EXPECT_EQ(KeysOf(summary["imbalance"]), (Keys{"first", "last", "mean", "mean_after_commit",
                                                  "windows", "first_window_after_commit"}));
    EXPECT_EQ(KeysOf(summary["cycles"]), (Keys{"started", "committed", "kept", "abandoned"}));
    EXPECT_EQ(KeysOf(summary["stall_ms"]), (Keys{"total", "max"}));
    EXPECT_EQ(summary["windows"], summary["imbalance"]["windows"]);
  }
};

TEST_F(RunCommandTest, SummaryHasTheDocumentedKeys) {
  const OrderedJson summary = RunJson(Args({"--ranks", "4", "--window", "4", "--json"}));
  ExpectSummary(summary);
  EXPECT_EQ(summary["ranks"], 4);
  EXPECT_EQ(summary["slots"], 9);  // ceil(32 / 4) + 1
  EXPECT_EQ(summary["balance"], "async");
  EXPECT_EQ(summary["requests"], 12);
  EXPECT_GT(summary["windows"].size(), 0U);
}

TEST_F(RunCommandTest, ResultLinesHaveTheDocumentedKeysInTheOrderOfTheRequests) {
  const CommandResult result = Run(Args({"--ranks", "2"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err.find('\r'), std::string::npos);
  std::istringstream lines(result.out);
  std::istringstream requests(Read("r.jsonl"));
  std::string line;
  std::string request;
  int count = 0;
  for (; std::getline(lines, line) && std::getline(requests, request); ++count) {
    const OrderedJson parsed = OrderedJson::parse(line);
    EXPECT_EQ(KeysOf(parsed), (Keys{"id", "input_ids", "new_tokens", "text", "finish_reason"}));
    EXPECT_EQ(parsed["id"], OrderedJson::parse(request)["id"]);
  }
  EXPECT_EQ(count, 12);
}

TEST_F(RunCommandTest, ResultLinesAreTheSameOnAnyRanksInAnyMode) {
  const CommandResult first = Run(Args({"--ranks", "1", "--balance", "off"}));
  ASSERT_EQ(first.exit_code, 0) << first.err;
  for (const std::string ranks : {"2", "4"}) {
    for (const std::string mode : {"off", "static", "sync", "async"}) {
      const CommandResult run = Run(Args({"--ranks", ranks, "--balance", mode, "--window", "4",
                                          "--out", "out.jsonl", "--threads", "2"}));
      EXPECT_EQ(run.exit_code, 0) << run.err;
      EXPECT_EQ(run.out, "");
      EXPECT_EQ(Read("out.jsonl"), first.out) << ranks << " ranks, " << mode;
    }
  }
}

TEST_F(RunCommandTest, WeightedSharesAreServedAndChangeNoAnswer) {
  const CommandResult off = Run(Args({"--ranks", "4", "--balance", "off"}));
  ASSERT_EQ(off.exit_code, 0) << off.err;
  const CommandResult weighted =
      Run(Args({"--ranks", "4", "--window", "4", "--balance", "sync", "--split", "weighted",
                "--out", "out.jsonl", "--save-placement", "shares.json"}));
  EXPECT_EQ(weighted.exit_code, 0) << weighted.err;
  EXPECT_EQ(Read("out.jsonl"), off.out);
  const Result<Placement> placement =
      ReadPlacementFile(Path("shares.json"), DuplicateRule::kRefuse);
  ASSERT_TRUE(placement.ok()) << placement.status().message();
  EXPECT_TRUE(placement->has_shares());
}

TEST_F(RunCommandTest, NoCycleMovesMoreThanTheLimits) {
  const auto moves_of = [&](const std::vector<std::string>& limits) {
    std::vector<std::string> args =
        Args({"--ranks", "4", "--window", "4", "--balance", "sync", "--price", "0", "--json"});
    args.insert(args.end(), limits.begin(), limits.end());
    return RunJson(args);
  };
  EXPECT_GT(moves_of({})["moves"], 4 * moves_of({})["cycles"]["committed"].get<int>());
  const OrderedJson limited = moves_of({"--max-moves", "4"});
  EXPECT_GT(limited["moves"], 0);
  EXPECT_LE(limited["moves"], 4 * limited["cycles"]["committed"].get<int>());
  EXPECT_EQ(limited["cycles"]["abandoned"], 0);
  // An expert of the bundled model has 3 x 128 x 64 weights; what fits in 1 KiB is none.
  EXPECT_EQ(moves_of({"--max-bytes", "1024"})["moves"], 0);
  EXPECT_EQ(moves_of({"--max-moves-per-rank", "0"})["moves"], 0);
  EXPECT_EQ(moves_of({"--max-moves-per-pair", "0"})["moves"], 0);
}

// As long as its name and that of its logits allow.
TEST_F(RunCommandTest, LogitsAreWrittenForTheLongestId) {
  const std::string id(251, 'i');
  Write("long.jsonl", Json{{"id", id}, {"input_ids", {1, 2}}, {"max_new_tokens", 1}}.dump());
  const CommandResult result = Run({"run", "--model", "{model}", "--requests", "long.jsonl",
                                    "--ranks", "1", "--logits-dir", "new/lg/"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(Path("new/lg/" + id + ".npy")));
}

TEST_F(RunCommandTest, RecordedLoadsCountEveryTokenInEveryLayerTopKTimes) {
  for (const std::string mode : {"off", "async"}) {
    const OrderedJson summary =
        RunJson(Args({"--ranks", "2", "--balance", mode, "--window", "1", "--bins-per-window", "1",
                      "--record", "loads.npy", "--json"}));
    const Result<NpyArray> loads = ReadNpyFile(Path("loads.npy"));
    ASSERT_TRUE(loads.ok()) << loads.status().message();
    const std::vector<double> counts = loads->ToDoubles().value();
    // The last token of a request is not fed back; 6 layers, top-4 of 32 experts.
    const double fed = summary["prompt_tokens"].get<double>() +
                       summary["new_tokens"].get<double>() - summary["requests"].get<double>();
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0.0), fed * 4 * 6) << mode;
    EXPECT_EQ(loads->shape, (std::vector<size_t>{summary["steps"].get<size_t>(), 6, 32}));
  }
}

TEST_F(RunCommandTest, SavedPlacementServesAgainAndLogitsAreWritten) {
  RunJson(Args({"--ranks", "4", "--window", "4", "--save-placement", "p.json", "--logits-dir", "lg",
                "--json"}));
  ASSERT_TRUE(ReadPlacementFile(Path("p.json"), DuplicateRule::kRefuse).ok());
  const OrderedJson summary =
      RunJson(Args({"--placement", "p.json", "--balance", "static", "--json"}));
  EXPECT_EQ(summary["ranks"], 4);
  EXPECT_EQ(summary["moves"], 0);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Path("lg"))) {
    EXPECT_EQ(ReadNpyFile(entry.path())->shape, (std::vector<size_t>{4096}));
    ++files;
  }
  EXPECT_EQ(files, 12U);
}

TEST_F(RunCommandTest, SignalEndsARunWithOneLineAndNoFiles) {
  WriteRequests("r.jsonl", 600, 32);
  for (const int signal : {SIGINT, SIGTERM}) {
    const pid_t child = Start(Args({"--ranks", "4", "--out", "out.jsonl", "--record", "loads.npy",
                                    "--logits-dir", "lg", "--save-placement", "p.json"}));
    // Once the ranks are threads, the handlers stand and the work has begun.
    const std::string tasks = "/proc/" + std::to_string(child) + "/task";
    std::error_code gone;
    while (std::distance(std::filesystem::directory_iterator(tasks, gone), {}) < 4 && !gone) {
      std::this_thread::yield();
    }
    ASSERT_EQ(kill(child, signal), 0);
    const CommandResult result = Finish(child);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.last_error_line().find("stopped"), std::string::npos) << result.err;
    Keys left;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      left.push_back(entry.path().filename().string());
    }
    std::sort(left.begin(), left.end());
    EXPECT_EQ(left, (Keys{"r.jsonl", "stderr", "stdout"}));
  }
}

TEST_F(RunCommandTest, DemoComparesAndWritesItsSummary) {
  WriteRequests("r.jsonl", 60, 16);
  const CommandResult result = Run({"demo", "--model", "{model}", "--requests", "r.jsonl", "--out",
                                    "demo", "--max-batch-tokens", "64"});
  EXPECT_NE(result.out.find("answers identical: yes"), std::string::npos) << result.err;
  EXPECT_NE(result.out.find("hottest rank"), std::string::npos) << result.out;
  const OrderedJson summary = OrderedJson::parse(Read("demo/summary.json"));
  EXPECT_EQ(KeysOf(summary), (Keys{"off", "async", "tokens_equal"}));
  ExpectSummary(summary["off"]);
  ExpectSummary(summary["async"]);
  EXPECT_EQ(summary["tokens_equal"], true);
}

TEST_F(RunCommandTest, DemoInWhichNothingMovedFails) {
  const CommandResult result = Run({"demo", "--model", "{model}", "--requests", "r.jsonl", "--out",
                                    "demo", "--ranks", "1", "--window", "4"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.last_error_line().find("no expert moved"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace steelyard
