// What --help teaches: every example that it shows is run as it stands.
#include <gmock/gmock.h>

#include <sstream>

#include "command_runner.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

class Help : public CommandTest {
 protected:
  // The files that examples speak of: loads of the bundled model's shape, and what is made of them.
  void SetUp() override {
    fs::create_directories(Path("models"));
    fs::create_directory_symlink(STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny",
                                 Path("models/qwen3_moe_tiny"));
    WriteRequests("requests.jsonl", 12, 4);
    WriteRequests("models/demo_requests.jsonl", 60, 16);
    for (const std::string name : {"loads.npy", "loads.h5"}) {
      Make({"record", "--synthetic", "one-way", "--layers", "6", "--experts", "32", "--bins", "12",
            "--tokens", "4096", "--out", name});
    }
    Make({"plan", "--loads", "loads.npy", "--ranks", "4", "--out", "placement.json"});
    Make({"convert", "placement.json", "expert_map.json", "--to", "vllm-ascend"});
    Make({"plan", "--loads", "loads.npy", "--ranks", "8", "--out", "eight.json"});
    Make({"convert", "eight.json", "balancer.yaml"});
  }

  void Make(const std::vector<std::string>& args) const {
    const CommandResult result = Run(args);
    ASSERT_EQ(result.exit_code, 0) << args[0] << ": " << result.err;
  }

  // Command lines, without "steelyard".
  static std::vector<std::vector<std::string>> ExamplesOf(const std::string& help) {
    std::istringstream text(help.substr(std::min(help.find("Examples:\n"), help.size())));
    std::vector<std::vector<std::string>> examples;
    for (std::string line; std::getline(text, line);) {
      std::istringstream words(line);
      std::string word;
      if (!(words >> word) || word != "steelyard") continue;
      examples.emplace_back();
      while (words >> word) examples.back().push_back(word);
    }
    return examples;
  }

  void ExpectRuns(const std::vector<std::string>& example) const {
    const CommandResult result = Run(example);
    std::string shown;
    for (const std::string& word : example) shown += word + " ";
    // The demo fails where a step had to wait, which a busy machine can bring about.
    EXPECT_LE(result.exit_code, example[0] == "demo" ? 1 : 0) << shown << ": " << result.err;
    EXPECT_GE(result.exit_code, 0) << shown;
  }
};

TEST_F(Help, EverySubcommandTeachesWithExamplesOfItsOwn) {
  for (const std::string name : {"run", "record", "plan", "replay", "convert", "inspect", "demo"}) {
    const CommandResult help = Run({name, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.err, "");
    const std::vector<std::vector<std::string>> examples = ExamplesOf(help.out);
    EXPECT_GE(examples.size(), 2U) << name;
    for (const std::vector<std::string>& example : examples) {
      EXPECT_EQ(example.at(0), name);
      ExpectRuns(example);
    }
  }
}

TEST_F(Help, OfTheCommandShowsSeveralSubcommands) {
  const std::vector<std::vector<std::string>> examples = ExamplesOf(Run({"--help"}).out);
  EXPECT_GE(examples.size(), 4U);
  for (const std::vector<std::string>& example : examples) ExpectRuns(example);
}

TEST_F(Help, IsNamedWhereAnOptionIsRefused) {
  EXPECT_THAT(Run({"plan", "--frob"}).err,
              testing::HasSubstr("(steelyard plan --help tells more)"));
  EXPECT_THAT(Run({"frob"}).err, testing::HasSubstr("(steelyard --help tells more)"));
  EXPECT_THAT(Run({"--frob"}).err, testing::HasSubstr("(steelyard --help tells more)"));
}

}  // namespace
}  // namespace steelyard
