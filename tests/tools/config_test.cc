// --config FILE.toml: what it may hold, and that all of it is looked at whatever the command line
// says.
#include <gmock/gmock.h>

#include "command_runner.h"

namespace steelyard {
namespace {

class ConfigFile : public CommandTest {
 protected:
  void SetUp() override { Write("l.json", "[[40,1,1,1,1,1,1,2],[3,3,3,3,3,3,3,3]]"); }

  std::vector<std::string> Plan(const std::vector<std::string>& more) const {
    std::vector<std::string> args = {"plan", "--json", "--loads", "l.json", "--config", "c.toml"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(ConfigFile, EveryKindOfValueIsTaken) {
  Write("w.json", "[[40,1,1,1,1,1,1,2],[3,3,3,3,3,3,3,3]]");
  Write("c.toml",
        "# of all\n"
        "ranks = 4 # and a comment\r\n"
        "'price' = 1_0.5e-1\n"
        "\"split\" = \"w\\u0065ighted\"\n"
        "\n"
        "\t[ plan ]\n"
        "slots = [ 3, 3, # two\n  3,\n 3, ]\n"
        "policy = 'steelyard'\n"
        "json = false\n"
        "seed=+7\n"
        "[run]\n"
        "window = 8");
  const CommandResult read =
      Run({"plan", "--loads", "w.json", "--config", "c.toml", "--out", "a.json"});
  EXPECT_EQ(read.exit_code, 0) << read.err;
  const CommandResult given = Run({"plan", "--loads", "w.json", "--ranks", "4", "--price", "1.05",
                                   "--split", "weighted", "--slots", "3,3,3,3", "--out", "b.json"});
  EXPECT_EQ(given.exit_code, 0) << given.err;
  EXPECT_EQ(Read("a.json"), Read("b.json"));
}

TEST_F(ConfigFile, IsRefusedByLineAndRuleWhateverTheCommandLineGives) {
  const std::pair<const char*, const char*> rows[] = {
      {"ranks = = 4", "line 1: =: neither a number, nor true or false, nor text in quotes"},
      {"ranks =", "line 1: a value is missing"},
      {"ranks", "line 1: no = follows ranks"},
      {"\n= 4", "line 2: a key, or [ and the name of a table, must begin the line"},
      {"x", "line 1: no = follows x"},
      {"ranks = 4 4", "line 1: more follows the value of ranks on its line"},
      {"ranks = 04", "line 1: 04: neither a number"},
      {"ranks = 0x4", "line 1: 0x4: neither a number"},
      {"ranks = 1__0", "line 1: 1__0: neither a number"},
      {"price = .5", "line 1: .5: neither a number"},
      {"price = 1.", "line 1: 1.: neither a number"},
      {"price = 1979-05-27", "line 1: 1979-05-27: neither a number"},
      {"policy = steelyard", "line 1: steelyard: neither a number"},
      {"policy = \"steelyard", "line 1: no \" ends the text"},
      {"policy = 'steelyard\n'", "line 1: no ' ends the text"},
      {"policy = \"\\x\"", "line 1: a backslash begins nothing that is known"},
      {"policy = \"\\ud800\"", "line 1: U+D800 is no character"},
      {"policy = \"\"\"steelyard\"\"\"", "line 1: text over several lines is not supported"},
      {"slots = [3, 3", "line 1: no ] ends the list"},
      {"slots = [3 3]", "line 1: neither , nor ] follows an entry of the list"},
      {"slots = [3,\n[3]]", "line 2: [3: neither a number"},
      {"slots = []", "line 1: the list is empty"},
      {"slots = {a = 1}", "line 1: {a: neither a number"},
      {"plan.ranks = 4", "line 1: no = follows plan"},
      {"ranks = 4\n\nranks = 4", "line 3: ranks is there twice, first in line 1"},
      {"ranks = 4\n[plan]\nranks = 4",
       "line 3: ranks is there twice: at the top, and under [plan]"},
      {"[plan]\n[run]\n[plan]\n", "line 3: [plan] is there twice, first in line 1"},
      {"[plan\n", "line 1: [plan: no ] follows"},
      {"[[plan]]\n", "line 1: lists of tables are not supported"},
      {"[plan] ranks = 4\n", "line 1: more follows [plan] on its line"},
      {"[plam]\nranks = 4\n", "line 1: [plam]: no such subcommand"},
      {"[run]\nranks = \n", "line 2: a value is missing"},  // although nobody asked for it
      {"rankz = 4", "line 1: rankz: not an option of plan"},
      {"help = true", "line 1: help: not an option of plan"},
      {"config = 'd.toml'", "line 1: config: not an option of plan"},
      {"[plan]\n\nranks = 0", "line 3: --ranks: 0: not a whole number from 1 to 16384"},
      {"ranks = 2.5", "line 1: --ranks: 2.5: not a whole number"},
      {"price = -inf", "line 1: --price: -inf: not a finite number from 0 on"},
      {"policy = 'snake'", "line 1: --policy: snake: not one of steelyard, "},
      {"split = 'odd'", "line 1: --split odd: neither even nor weighted"},
      {"loads = ''", "line 1: --loads: it is empty"},
      {"json = 1", "line 1: --json: 1: neither true nor false"},
      {"ranks = [4, 4]", "line 1: --ranks: "},
  };
  for (const auto& [text, message] : rows) {
    Write("c.toml", text);
    const CommandResult result = Run(Plan({"--ranks", "4", "--slots", "3", "--split", "even",
                                           "--price", "0.1", "--policy", "static"}));
    EXPECT_EQ(result.exit_code, 2) << text;
    EXPECT_THAT(result.err, testing::StartsWith(std::string("steelyard: c.toml: ") + message))
        << text;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "") << text;
  }
}

TEST_F(ConfigFile, ThatIsNoFileIsRefused) {
  for (const std::string name : {"none.toml", ".", ""}) {
    const CommandResult result =
        Run({"plan", "--loads", "l.json", "--ranks", "4", "--config", name});
    EXPECT_EQ(result.exit_code, 2) << name;
    EXPECT_THAT(result.err, testing::StartsWith("steelyard: --config: ")) << name;
  }
}

TEST_F(ConfigFile, MayHoldWhatGoesWithOtherOptions) {
  Write("c.toml", "[record]\nbins = 4\nlayers = 1\nexperts = 8\n");
  const CommandResult result =
      Run({"record", "--synthetic", "none", "--out", "t.npy", "--config", "c.toml"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(RunJson({"inspect", "--json", "t.npy"})["num_bins"], 4);
}

}  // namespace
}  // namespace steelyard
