// What is never overwritten: what a command reads, what it writes elsewhere, and windows of another
// replay.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "command_runner.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Outputs : public CommandTest {
 protected:
  void SetUp() override {
    Write("l.json", "[[[1,2,3,4]],[[4,3,2,1]],[[1,1,1,9]],[[1,2,3,4]]]");
    WriteRequests("r.jsonl", 1, 1);
    ASSERT_EQ(Run({"convert", "l.json", "l.npy"}).exit_code, 0);
    ASSERT_EQ(Run({"plan", "--loads", "l.npy", "--ranks", "2", "--out", "p.json"}).exit_code, 0);
    fs::create_hard_link(Path("l.npy"), Path("hard.npy"));
    fs::create_symlink("l.npy", Path("soft.npy"));
    fs::create_directory(Path("sub"));
  }

  std::vector<std::string> Replay(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"replay", "--trace",    "l.npy", "--ranks",
                                     "2",      "--policies", "static"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(Outputs, AreNoInputsAndNotTheSameTwice) {
  struct Row {
    std::vector<std::string> args;
    std::string message;
  };
  const std::string loads = Read("l.npy");
  for (const Row& row : std::vector<Row>{
           {{"plan", "--loads", "l.npy", "--ranks", "2", "--out", "l.npy"},
            "--out l.npy: would overwrite what --loads reads"},
           {{"plan", "--loads", "l.npy", "--ranks", "2", "--out", "sub/../l.npy"},
            "--out sub/../l.npy: would overwrite what --loads reads"},
           {{"plan", "--loads", "l.npy", "--ranks", "2", "--out", "hard.npy"},
            "--out hard.npy: would overwrite what --loads reads"},
           {{"plan", "--loads", "soft.npy", "--ranks", "2", "--out", "l.npy"},
            "--out l.npy: would overwrite what --loads reads"},
           {{"plan", "--loads", "l.npy", "--current", "p.json", "--out", "p.json"},
            "--out p.json: would overwrite what --current reads"},
           {Replay({"--out", "l.npy"}), "--out l.npy: would overwrite what --trace reads"},
           {Replay({"--report", "soft.npy"}), "--report soft.npy: would overwrite what --trace"},
           {Replay({"--out", "x", "--report", "sub/../x"}),
            "--report sub/../x: would overwrite what --out writes"},
           {{"convert", "l.npy", "l.npy", "--merge-bins", "2"},
            "OUT l.npy: would overwrite what IN reads"},
           {{"convert", "p.json", "p.json", "--to", "sglang"},
            "OUT p.json: would overwrite what IN reads"},
       }) {
    const CommandResult result = Run(row.args);
    EXPECT_EQ(result.exit_code, 2) << row.message;
    EXPECT_THAT(result.err, HasSubstr("steelyard: " + row.message));
    EXPECT_EQ(Read("l.npy"), loads);
    EXPECT_FALSE(fs::exists(Path("x")));
  }
}

TEST_F(Outputs, AreNotTheFileOfOptions) {
  const std::string text = "# options\n";
  for (std::vector<std::string> args : std::vector<std::vector<std::string>>{
           {"plan", "--loads", "l.npy", "--ranks", "2", "--out", "c.npy"},
           Replay({"--out", "c.npy"}),
           Replay({"--report", "c.npy"}),
           {"convert", "l.npy", "c.npy"},
           {"record", "--synthetic", "none", "--out", "c.npy"},
           {"run", "--model", "no", "--requests", "r.jsonl", "--ranks", "2", "--out", "c.npy"}}) {
    Write("c.npy", text);
    args.insert(args.end(), {"--config", "sub/../c.npy"});
    const CommandResult result = Run(args);
    EXPECT_EQ(result.exit_code, 2) << args[0];
    EXPECT_THAT(result.err, HasSubstr(" c.npy: would overwrite what --config reads"));
    EXPECT_EQ(Read("c.npy"), text) << args[0];
  }
  Write("summary.json", text);
  const CommandResult demo = Run({"demo", "--out", ".", "--config", "summary.json"});
  EXPECT_EQ(demo.exit_code, 2);
  EXPECT_EQ(demo.err, "steelyard: --out ./summary.json: would overwrite what --config reads\n");
}

TEST_F(Outputs, ThatAreWindowsAreNoOtherFile) {
  const std::string loads = Read("l.npy");
  const std::string window = "d/static/window_0000.json";
  fs::create_directories(Path("d/static"));
  fs::create_hard_link(Path("l.npy"), Path(window));
  const CommandResult linked = Run(Replay({"--dump", "d"}));
  EXPECT_EQ(linked.exit_code, 2);
  EXPECT_EQ(linked.err, "steelyard: --dump " + window + ": would overwrite what --trace reads\n");
  EXPECT_EQ(Read(window), loads);
  fs::remove(Path(window));
  for (const std::string option : {"--out", "--report"}) {
    const CommandResult result = Run(Replay({"--dump", "d", option, "sub/../" + window}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, fmt::format("steelyard: --dump {}: would overwrite what {} writes\n",
                                      window, option));
    EXPECT_FALSE(fs::exists(Path(window)));
  }
  Write(window, Read("l.json"));
  const CommandResult trace =
      Run({"replay", "--trace", window, "--ranks", "2", "--policies", "static", "--dump", "d"});
  EXPECT_EQ(trace.exit_code, 2);
  EXPECT_EQ(Read(window), Read("l.json"));
}

// Its first window cannot be written.
TEST_F(Outputs, WindowsStayWhereAReplayComesToNothing) {
  EXPECT_EQ(Run(Replay({"--dump", "d"})).exit_code, 0);
  const std::string first = Read("d/static/window_0000.json");
  fs::create_directories(Path("d/random/window_0000.json"));
  const CommandResult result = Run(
      {"replay", "--trace", "l.npy", "--ranks", "2", "--policies", "random,static", "--dump", "d"});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_EQ(Read("d/static/window_0000.json"), first);
}

TEST_F(Outputs, ThatCannotBeWrittenAreToldBeforeTheWork) {
  for (const std::string subcommand : {"plan", "replay", "convert", "record"}) {
    for (const std::string name : {"none/x.npy", "sub"}) {
      std::vector<std::string> args = {subcommand};
      if (subcommand == "plan") args.insert(args.end(), {"--loads", "no.npy", "--out", name});
      if (subcommand == "replay") args.insert(args.end(), {"--trace", "no.npy", "--out", name});
      if (subcommand == "convert") args.insert(args.end(), {"no.npy", name});
      if (subcommand == "record") args.insert(args.end(), {"--synthetic", "none", "--out", name});
      const CommandResult result = Run(args);
      EXPECT_EQ(result.exit_code, 1);
      EXPECT_THAT(result.err, HasSubstr(" " + name + ": ")) << subcommand;
      EXPECT_THAT(result.err, HasSubstr("a folder")) << subcommand;
    }
  }
  const CommandResult demo = Run({"demo", "--model", "no", "--out", "l.npy/demo"});
  EXPECT_EQ(demo.exit_code, 1);
  EXPECT_EQ(demo.err, "steelyard: --out l.npy/demo: cannot be made: Not a directory\n");
}

TEST_F(Outputs, WindowsOfALongerReplayAreNotMixedWithNewOnes) {
  EXPECT_EQ(Run(Replay({"--dump", "d"})).exit_code, 0);
  const std::string first = Read("d/static/window_0000.json");
  const CommandResult shorter = Run(Replay({"--dump", "d", "--bins-per-window", "2"}));
  EXPECT_EQ(shorter.exit_code, 1);
  EXPECT_THAT(shorter.err, testing::AnyOf(HasSubstr("d/static/window_0001.json is of another"),
                                          HasSubstr("d/static/window_0002.json is of another")));
  EXPECT_THAT(shorter.err, HasSubstr("steelyard: --dump d: "));
  EXPECT_EQ(Read("d/static/window_0000.json"), first);
  EXPECT_TRUE(fs::exists(Path("d/static/window_0002.json")));
}

// The same replay again writes the same files anew, and what is not a window stays.
TEST_F(Outputs, WindowsOfAnEarlierReplayAreWrittenAnew) {
  EXPECT_EQ(Run(Replay({"--dump", "d"})).exit_code, 0);
  const std::string first = Read("d/static/window_0001.json");
  Write("d/static/window_0001.json", "old");
  for (const std::string other : {"window_00009.json", "window_9.json", "notes.txt",
                                  "window_0009.json.bak", "window_.json"}) {
    Write("d/static/" + other, "mine");
  }
  EXPECT_EQ(Run(Replay({"--dump", "d", "--slots", "3"})).exit_code, 0);
  EXPECT_EQ(Read("d/static/window_0001.json"), first);
  EXPECT_EQ(Read("d/static/window_00009.json"), "mine");
  EXPECT_EQ(Read("d/static/notes.txt"), "mine");
}

}  // namespace
}  // namespace steelyard
