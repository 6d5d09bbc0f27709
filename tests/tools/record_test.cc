// Traces of runs: `steelyard run --record` and `steelyard record`.
#include <sys/resource.h>

#include <csignal>

#include "command_runner.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

using Keys = std::vector<std::string>;

class RecordTest : public CommandTest {
 protected:
  void SetUp() override { WriteRequests("r.jsonl", 12, 4); }

  static std::vector<std::string> Args(const std::vector<std::string>& more,
                                       const std::string& subcommand = "run") {
    std::vector<std::string> args = {subcommand, "--model", "{model}", "--requests", "r.jsonl"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(RecordTest, RecordedHdf5KeepsPhasesThatAnArraySums) {
  const std::vector<std::string> args = Args(
      {"--ranks", "2", "--balance", "off", "--window", "8", "--bins-per-window", "4", "--json"});
  for (const std::string name : {"loads.h5", "loads.npz"}) {
    std::vector<std::string> recording = args;
    recording.insert(recording.end(), {"--record", name});
    RunJson(recording);
  }
  const LoadTrace kept = ReadLoadTrace(Path("loads.h5")).value();
  const LoadWindow summed = ReadLoads(Path("loads.npz")).value();
  EXPECT_EQ(SumPhases(kept.loads), SumPhases(summed));
  EXPECT_EQ(kept.loads.shape().num_phases, 2);
  EXPECT_EQ(kept.steps, std::vector<uint64_t>(kept.loads.shape().num_bins, 2));
  EXPECT_EQ(kept.origin.phase_names, (Keys{"prefill", "decode"}));
  EXPECT_EQ(kept.origin.num_ranks, 2);
  EXPECT_EQ(kept.origin.slots_per_rank, 17);
  EXPECT_EQ(kept.origin.top_k, 4);
  EXPECT_EQ(Run({"convert", "loads.h5", "again.npy"}).out,
            "again.npy: " + summed.ToString() + ", phases summed\n");
  EXPECT_EQ(Run({"convert", "loads.h5", "again.h5"}).out,
            "again.h5: " + kept.loads.ToString() + "\n");
}

TEST_F(RecordTest, FullDiskUnderATraceDoesNotStopTheRun) {
  WriteRequests("r.jsonl", 8, 40);
  const CommandResult good = Run(Args({"--ranks", "2", "--window", "1", "--bins-per-window", "1"}));
  ASSERT_EQ(good.exit_code, 0) << good.err;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit most{48 << 10, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &most), 0);
  const pid_t child = Start(Args({"--ranks", "2", "--window", "1", "--bins-per-window", "1",
                                  "--record", "loads.h5", "--out", "out.jsonl"}));
  (void)setrlimit(RLIMIT_FSIZE, &before);
  (void)std::signal(SIGXFSZ, handler);
  const CommandResult run = Finish(child);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_NE(run.last_error_line().find("loads.h5: bin "), std::string::npos) << run.err;
  EXPECT_NE(run.last_error_line().find("File too large"), std::string::npos) << run.err;
  EXPECT_EQ(Read("out.jsonl"), good.out);
  EXPECT_GT(ReadLoads(Path("loads.h5")).value().shape().num_bins, 0);
}

TEST_F(RecordTest, KilledRunLeavesTheBinsThatItRecorded) {
  WriteRequests("r.jsonl", 600, 32);
  const pid_t child = Start(Args({"--ranks", "2", "--window", "1", "--bins-per-window", "1",
                                  "--record", "loads.h5", "--out", "out.jsonl"}));
  int num_bins = 0;
  while (num_bins < 3 && waitpid(child, nullptr, WNOHANG) == 0) {
    const Result<LoadTrace> trace = ReadLoadTrace(Path("loads.h5"));
    num_bins = trace.ok() ? trace->loads.shape().num_bins : 0;
  }
  ASSERT_GE(num_bins, 3) << Read("stderr");
  ASSERT_EQ(kill(child, SIGKILL), 0);
  EXPECT_EQ(Finish(child).exit_code, -1);
  EXPECT_GE(ReadLoads(Path("loads.h5")).value().shape().num_bins, num_bins);
}

TEST_F(RecordTest, RecordWritesTheTraceAndNothingElse) {
  const CommandResult run = Run(
      Args({"--ranks", "2", "--window", "4", "--bins-per-window", "2", "--out", "t.h5"}, "record"));
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_NE(run.last_error_line().find("t.h5"), std::string::npos) << run.err;
  const LoadTrace trace = ReadLoadTrace(Path("t.h5")).value();
  EXPECT_GT(trace.loads.shape().num_bins, 1);
  EXPECT_EQ(trace.steps[0], 2u);
  const OrderedJson summary = RunJson(
      Args({"--ranks", "2", "--window", "4", "--bins-per-window", "2", "--out", "t.npy", "--json"},
           "record"));
  EXPECT_EQ(summary["balance"], "off");
  EXPECT_EQ(SumPhases(ReadLoads(Path("t.npy")).value()), SumPhases(trace.loads));
}

TEST_F(RecordTest, RecordRefusesWhatItCannotDo) {
  const CommandResult no_model = Run({"record", "--out", "t.h5"});
  EXPECT_EQ(no_model.exit_code, 2);
  EXPECT_NE(no_model.err.find("--model"), std::string::npos) << no_model.err;
  const CommandResult both = Run(Args({"--synthetic", "steady", "--out", "t.h5"}, "record"));
  EXPECT_EQ(both.exit_code, 2);
  EXPECT_NE(both.err.find("--synthetic"), std::string::npos) << both.err;
  const CommandResult no_out = Run(Args({"--ranks", "2"}, "record"));
  EXPECT_EQ(no_out.exit_code, 2);
  EXPECT_NE(no_out.err.find("--out"), std::string::npos) << no_out.err;
  const CommandResult wrong = Run(Args({"--ranks", "2", "--out", "t.jsonl"}, "record"));
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_EQ(wrong.err, "steelyard: --out t.jsonl: traces end in .h5, .npy or .npz\n");
  const CommandResult nowhere = Run(Args({"--ranks", "2", "--out", "none/t.h5"}, "record"));
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_EQ(nowhere.err, "steelyard: --out none/t.h5: none is not a folder\n");
}

class TraceFiles : public CommandTest {
 protected:
  // 4 bins x 1 layer x 2 experts.
  void SetUp() override { Write("l.json", "[[[1, 2]], [[3, 4]], [[5, 6]], [[70, 8]]]"); }
};

TEST_F(TraceFiles, AreCutMergedAndWrittenInAnotherFormat) {
  const OrderedJson said = RunJson({"convert", "--json", "l.json", "l.h5", "--merge-bins", "2"});
  EXPECT_EQ(said["kind"], "loads");
  const LoadTrace merged = ReadLoadTrace(Path("l.h5")).value();
  EXPECT_EQ(merged.loads.shape(), (LoadShape{2, 1, 1, 2}));
  EXPECT_EQ(SumPhases(merged.loads), (std::vector<double>{4, 6, 75, 14}));
  RunJson({"convert", "--json", "l.h5", "l.npz", "--bins", "1:"});
  EXPECT_EQ(SumPhases(ReadLoads(Path("l.npz")).value()), (std::vector<double>{75, 14}));
}

TEST_F(TraceFiles, AreRefusedByName) {
  struct Row {
    std::vector<std::string> args;
    int exit_code;
    std::string error;
  };
  Write("bad.h5", "no HDF5");
  Write("dump.pt", "PK");
  const Row rows[] = {
      {{"convert", "l.json", "l.npy", "--bins", "3:9"},
       1,
       "steelyard: l.json: bins 3:9 are not some of the 4 that are there\n"},
      {{"convert", "l.json", "l.npy", "--bins", "x"}, 2, "steelyard: --bins x: not FIRST:END\n"},
      {{"convert", "l.json", "l.csv"},
       2,
       "steelyard: OUT l.csv: traces end in .h5, .npy or .npz\n"},
      {{"inspect", "bad.h5"},
       1,
       "steelyard: bad.h5: cannot read it as HDF5: file signature not found\n"},
      {{"plan", "--loads", "bad.h5", "--ranks", "2"},
       1,
       "steelyard: bad.h5: cannot read it as HDF5: file signature not found\n"},
  };
  for (const Row& row : rows) {
    const CommandResult result = Run(row.args);
    EXPECT_EQ(result.exit_code, row.exit_code);
    EXPECT_EQ(result.err, row.error);
  }
  EXPECT_NE(Run({"inspect", "dump.pt"}).err.find("convert_pt.py"), std::string::npos);
}

TEST_F(TraceFiles, AreInspectedAsHeatMaps) {
  const CommandResult result = Run({"inspect", "l.json", "--ranks", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  // 79 and 20 tokens: 1.6 and 0.4 of the mean; on two ranks both hold both experts.
  EXPECT_NE(result.out.find("layer 0 |#:| 1.60"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("layer 0 |++| 1.00"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace steelyard
