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
      {"[\"\"]\nranks = 4", "line 1: a table without a name"},
      {"\"a\\u0007\" = []", "line 1: a?: the list is empty"},
      {"\n\"a\\n\" = 4", "line 2: a?: not an option of plan"},
      {"ranks = = 4", "line 1: Error while parsing value: could not determine value type"},
      {"ranks =", "line 1: Error while parsing key-value pair: encountered end-of-file"},
      {"ranks", "line 1: Error while parsing key-value pair: encountered end-of-file"},
      {"\n= 4",
       "line 2: Error while parsing root table: expected keys, tables, whitespace or comments, saw "
       "'='"},
      {"ranks = 4 4",
       "line 1: Error while parsing key-value pair: expected a comment or whitespace, saw '4'"},
      {"ranks = 4 \xC2\x85",
       "line 1: Error while parsing key-value pair: expected a comment or whitespace, saw '\?\?'"},
      {"ranks = 4 # \xFF", "line 1: Encountered invalid utf-8 sequence"},
      {"ranks = 04", "line 1: Error while parsing decimal integer: leading zeroes are prohibited"},
      {"ranks = 1__0", "line 1: Error while parsing decimal integer: underscores may only follow "},
      {"ranks = 9223372036854775808",
       "line 1: Error while parsing decimal integer: '9223372036854775808' is not representable"},
      {"price = .5", "line 1: Error while parsing floating-point: expected decimal digit, saw '.'"},
      {"price = 1.", "line 1: Error while parsing floating-point: encountered end-of-file"},
      {"price = 1979-05-27",
       "line 1: price: neither text, a number, true or false, nor a list of these"},
      {"policy = steelyard", "line 1: Error while parsing value: could not determine value type"},
      {"policy = \"steelyard", "line 1: Error while parsing string: encountered end-of-file"},
      {"policy = 'steelyard\n'", "line 1: Error while parsing literal string: control characters "},
      {"policy = \"\\x\"", "line 1: Error while parsing string: escape sequence '\\x' is not "},
      {"policy = \"\\ud800\"",
       "line 1: Error while parsing unicode scalar sequence: unicode surrogates "},
      {"slots = [3, 3", "line 1: Error while parsing array: encountered end-of-file"},
      {"slots = [3 3]",
       "line 1: Error while parsing array: expected comma or closing ']', saw '3'"},
      {"slots = [3,\n[3]]", "line 2: slots: neither text, a number, true or false, nor a list"},
      {"slots = []", "line 1: slots: the list is empty"},
      {"slots = {a = 1}", "line 1: [slots]: no such subcommand"},
      {"plan.slots.a = 1", "line 1: slots: neither text, a number, true or false, nor a list"},
      {"\n[plan.slots]\n", "line 2: slots: neither text, a number, true or false, nor a list"},
      {"ranks = 4\n\nranks = 4",
       "line 3: Error while parsing key-value pair: cannot redefine existing integer 'ranks'"},
      {"ranks = 4\n[plan]\nranks = 4",
       "line 3: ranks is there twice: at the top, and under [plan]"},
      {"[plan]\n[run]\n[plan]\n",
       "line 3: Error while parsing table header: cannot redefine existing table 'plan'"},
      {"[plan\n", "line 1: Error while parsing table header: expected ']', saw '\\n'"},
      {"[[plan]]\n", "line 1: plan: neither text, a number, true or false, nor a list of these"},
      {"[plan] ranks = 4\n",
       "line 1: Error while parsing table header: expected a comment or whitespace, saw 'r'"},
      {"[plam]\nranks = 4\n", "line 1: [plam]: no such subcommand"},
      {"[run]\nranks = \n",  // although nobody asked for it
       "line 2: Error while parsing key-value pair: expected value, saw '\\n'"},
      {"rankz = 4", "line 1: rankz: not an option of plan"},
      {"help = true", "line 1: help: not an option of plan"},
      {"config = 'd.toml'", "line 1: config: not an option of plan"},
      {"[plan]\n\nranks = 0", "line 3: --ranks: 0: not a whole number from 1 to 16384"},
      {"[run]\nranks = 4\n[plan]\nrankz = 1\na = 2\n", "line 4: rankz: not an option of plan"},
      {"ranks = 2.5", "line 1: --ranks: 2.5: not a whole number"},
      {"ranks = 4.0", "line 1: --ranks: 4.0: not a whole number"},
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

// Text longer than a string holds in itself, a number, a flag and a list, of every subcommand. None
// comes to run: an option that it does not have follows.
TEST_F(ConfigFile, GivesEverySubcommandTextNumbersAndLists) {
  const std::string path = "'" + std::string(100, 'x') + "'";
  const std::pair<std::string, std::string> rows[] = {
      {"run", "model = PATH\nwindow = 8\nprice = 0.5\njson = true\nbalance = 'off'\n"},
      {"record", "model = PATH\nout = PATH\nbins = 8\nseed = 1\njson = true\n"},
      {"plan", "loads = PATH\nranks = 4\nslots = [3, 3, 3, 3]\nsplit = 'even'\njson = true\n"},
      {"replay",
       "trace = PATH\nranks = 2\npolicies = ['static', 'swift']\nprice = [0.1, 0.2]\n"
       "gated = true\nspeeds = [1, 0.5]\n"},
      {"convert", "to = 'sglang'\nranks = 2\nbins = '0:4'\nmoe-layers = [1, 2]\njson = true\n"},
      {"inspect", "loads = PATH\nranks = 2\nslots = [3, 3]\nmoe-layers = [1, 2]\njson = true\n"},
      {"demo", "model = PATH\nout = PATH\nranks = 2\nwindow = 8\njson = true\n"},
  };
  for (const auto& [command, options] : rows) {
    std::string text = options;
    for (size_t at = 0; (at = text.find("PATH")) != std::string::npos;) {
      text.replace(at, 4, path);
    }
    Write("c.toml", text + "last = 1\n");
    const CommandResult result = Run({command, "--config", "c.toml"});
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_EQ(result.err, "steelyard: c.toml: line " +
                              std::to_string(std::count(text.begin(), text.end(), '\n') + 1) +
                              ": last: not an option of " + command + "\n");
  }
}

TEST_F(ConfigFile, OfReplayMayLeaveNothingToTheCommandLine) {
  Write("c.toml", "trace = 'b.json'\nranks = 2\npolicies = 'static'\njson = true\n");
  Write("b.json", "[[[1,2,3,4]],[[4,3,2,1]]]");
  EXPECT_EQ(RunJson({"--config", "c.toml", "replay"})["policies"][0]["policy"], "static");
}

TEST_F(ConfigFile, MayWriteTablesNumbersAndTextAsTomlAllows) {
  Write("c.toml", "ranks = 4\nprice = 1.05\npolicy = 'steelyard'\n");
  const std::string plain = RunJson(Plan({}))["digest"];
  for (const char* text : {"ranks = 0x4\nprice = 105e-2\n", "plan.ranks = 4\nplan.price = +1.05\n",
                           "plan = {price = 1.05, ranks = 0b100}\npolicy = '''\nsteelyard'''\n"}) {
    Write("c.toml", text);
    EXPECT_EQ(RunJson(Plan({}))["digest"], plain) << text;
  }
}

TEST_F(ConfigFile, ThatGoesTooDeepOrIsTooLargeIsRefused) {
  std::string steps;
  for (int i = 0; i < 16'000; ++i) {
    steps += ".a";
  }
  const std::pair<std::string, const char*> rows[] = {
      {std::string(30'000, '['), "line 1: Error while parsing key: "},
      {"slots = " + std::string(30'000, '['), "line 1: Error while parsing value: exceeded "},
      {"[plan" + steps + "]", "line 1: a: neither text, a number"},
      {"plan" + steps + " = 4", "line 1: a: neither text, a number"},
      {std::string(100'000, '['), "it is larger than 32 KiB"},
  };
  for (const auto& [text, message] : rows) {
    Write("c.toml", text);
    const CommandResult result = Run(Plan({"--ranks", "4"}));
    EXPECT_EQ(result.exit_code, 2) << message;
    EXPECT_THAT(result.err, testing::StartsWith(std::string("steelyard: c.toml: ") + message));
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
