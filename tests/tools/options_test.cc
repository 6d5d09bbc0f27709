// Options with senseless values: exit code 2 and one line that names the option and the rule, in
// every subcommand.
#include <gmock/gmock.h>

#include <map>

#include "command_runner.h"

namespace steelyard {
namespace {

using Args = std::vector<std::string>;
using testing::HasSubstr;

class SenselessOptions : public CommandTest {
 protected:
  void SetUp() override {
    Write("l.json", "[[[1,2,3,4],[4,3,2,1]],[[1,2,3,4],[4,3,2,1]]]");
    WriteRequests("r.jsonl", 1, 1);
  }

  void Expect(const std::string& subcommand, const Args& more, const std::string& message) const {
    std::map<std::string, Args> starts = {
        {"plan", {"plan", "--loads", "l.json", "--out", "out"}},
        {"replay", {"replay", "--trace", "l.json", "--out", "out"}},
        {"record", {"record", "--synthetic", "none", "--out", "out.npy"}},
        {"convert", {"convert", "l.json", "out.npy"}},
        {"inspect", {"inspect", "l.json"}},
        {"run", {"run", "--model", "{model}", "--requests", "r.jsonl", "--out", "out"}},
        {"demo", {"demo", "--model", "{model}", "--requests", "r.jsonl", "--out", "out"}}};
    Args args = starts.at(subcommand);
    args.insert(args.end(), more.begin(), more.end());
    std::string shown;
    for (const std::string& arg : args) shown += "'" + arg + "' ";
    SCOPED_TRACE(shown);
    const CommandResult result = Run(args);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_THAT(result.err, testing::StartsWith("steelyard: " + message));
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
    EXPECT_FALSE(std::filesystem::exists(Path("out.npy")));
  }
};

TEST_F(SenselessOptions, NumbersThatAreNone) {
  const std::map<std::string, Args> numbers = {
      {"plan",
       {"--ranks", "--nodes", "--slots", "--speeds", "--dead", "--groups", "--price", "--threads",
        "--seed", "--expert-bytes", "--max-moves", "--max-bytes", "--max-moves-per-pair",
        "--max-moves-per-rank", "--max-moves-across-nodes", "--rank-cost"}},
      {"replay",
       {"--ranks", "--price", "--bins-per-window", "--link-gbps", "--step-ms", "--tokens-per-step",
        "--top-k", "--groups"}},
      {"record", {"--layers", "--experts", "--bins", "--tokens", "--sigma", "--period", "--seed"}},
      {"convert",
       {"--ranks", "--nodes", "--experts", "--num-layers", "--first-layer", "--moe-layers",
        "--layer-updates", "--merge-bins"}},
      {"inspect", {"--ranks", "--slots", "--experts", "--moe-layers"}},
      {"run", {"--ranks", "--window", "--bins-per-window", "--max-batch-tokens", "--groups"}},
      {"demo", {"--ranks", "--window", "--max-batch-tokens"}},
  };
  for (const auto& [subcommand, options] : numbers) {
    for (const std::string& option : options) {
      for (const std::string value : {"", "x", "nan", "-1", " 4", "0x10", "1e999"}) {
        Expect(subcommand, {option, value}, option);
      }
    }
  }
}

TEST_F(SenselessOptions, NumbersThatAreTooSmallOrTooLarge) {
  struct Row {
    std::string subcommand;
    Args more;
    std::string message;
  };
  for (const Row& row : std::vector<Row>{
           {"plan", {"--ranks", "16385"}, "--ranks: 16385: not a whole number from 1 to 16384"},
           {"plan", {"--ranks", "2", "--speeds", "1,1e7"}, "--speeds: 1,1e7: not numbers from"},
           {"plan", {"--ranks", "2", "--groups", "3"}, "--groups 3: does not divide the 4 experts"},
           {"plan",
            {"--ranks", "2", "--policy", "deepseek", "--groups", "3"},
            "--groups 3: does not divide the 4 experts"},
           {"plan",
            {"--ranks", "2", "--policy", "static", "--max-moves", "1"},
            "--policy static: knows no limits on moves (--max-moves, ..)"},
           {"plan",
            {"--ranks", "2", "--policy", "swift", "--speeds", "1,2"},
            "--policy swift: plans only for"},
           {"plan", {"--ranks", "2", "--json=3"}, "--json: 3: neither true nor false"},
           {"plan", {"--ranks", "2", "--ranks", "3"}, "--ranks: "},
           {"plan", {}, "--ranks is required"},
           {"replay", {"--ranks", "2", "--groups", "3"}, "--groups 3: does not divide the 4"},
           {"replay",
            {"--ranks", "2", "--dead", "1"},
            "static plans only for ranks that are all alive, with equal slots and speed: name "
            "--policies steelyard,clairvoyant"},
           {"replay", {"--ranks", "2", "--top-k", "0"}, "--top-k: 0: not a whole number from 1"},
           {"replay", {"--ranks", "2", "--link-gbps", "0"}, "--link-gbps: 0: not a number from"},
           {"replay",
            {"--ranks", "2", "--step-ms", "1e300"},
            "--step-ms: 1e300: not a number from"},
           {"replay", {"--ranks", "2", "--tokens-per-step", "0"}, "--tokens-per-step: 0: not a"},
           {"replay", {"--ranks", "2", "--expert-bytes", "0"}, "--expert-bytes: 0: not a whole"},
           {"record", {"--sigma", "21"}, "--sigma: 21: not a number from 0 to 20"},
           {"record",
            {"--layers", "4096", "--experts", "65536", "--bins", "1048576"},
            "--layers, --experts, --bins: "},
           {"record", {"--ranks", "2"}, "--ranks excludes --synthetic"},
           {"run", {"--layers", "2"}, "The following argument"},
           {"convert", {"--to", "x"}, "--to: format x is not one of"},
           {"convert", {"--to", ""}, "--to: format  is not one of"},
           {"inspect", {"--from", "x"}, "--from: format x is not one of"},
           {"convert", {"--ranks", "2"}, "--ranks, --nodes, --from, "},
           {"inspect", {"--slots", "3"}, "--ranks is required with --slots"},
           {"inspect", {"--num-layers", "3"}, "--from, --experts, --num-layers"},
           {"demo", {"--ranks", "65"}, "--ranks: 65: not a whole number from 1 to 64"},
       }) {
    Expect(row.subcommand, row.more, row.message);
  }
}

TEST_F(SenselessOptions, EmptyTexts) {
  const std::pair<const char*, Args> rows[] = {
      {"plan", {"--loads", "--current", "--out"}},
      {"replay", {"--trace", "--dump", "--out", "--report"}},
      {"record", {"--out"}},
      {"convert", {"--bins", "--layers"}},
      {"inspect", {"--loads"}},
      {"demo", {"--model", "--requests", "--out"}},
  };
  for (const auto& [subcommand, options] : rows) {
    for (const std::string& option : options) {
      const CommandResult result = Run({subcommand, option, ""});
      EXPECT_EQ(result.exit_code, 2) << option;
      EXPECT_THAT(result.err, HasSubstr(option + ": it is empty")) << option;
    }
  }
  EXPECT_THAT(Run({"convert", "", "out.npy"}).err, HasSubstr("in: it is empty"));
  EXPECT_THAT(Run({"convert", "l.json", ""}).err, HasSubstr("out: it is empty"));
  EXPECT_THAT(Run({"inspect", ""}).err, HasSubstr("file: it is empty"));
}

TEST_F(SenselessOptions, OfMadeUpLoadsNeedThem) {
  const CommandResult result = Run({"record", "--model", "{model}", "--requests", "r.jsonl",
                                    "--ranks", "2", "--out", "t.npy", "--sigma", "2"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--sigma requires --synthetic"));
}

// A few bytes of YAML and two options must not take the machine's memory.
TEST_F(SenselessOptions, ADefaultLayoutBeyondAnyModelIsRefused) {
  Write("d.yaml", "num_slots: 1048576\n");
  const CommandResult result =
      Run({"inspect", "d.yaml", "--ranks", "1", "--experts", "1048576", "--num-layers", "1048576"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "steelyard: d.yaml: num_slots: 1048576 slots of 1048576 layers are more than 67108864 "
            "in all\n");
}

}  // namespace
}  // namespace steelyard
