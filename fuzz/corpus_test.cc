// Every input that is stored, through its target: what once broke something stays mended, in every
// build.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <vector>

#include "base/file.h"
#include "fuzz/targets.h"

namespace steelyard {
namespace {

struct Target {
  const char* name;
  void (*run)(std::string_view);
};

class FuzzCorpus : public testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, EveryStoredInputKeepsThePromises) {
  const std::filesystem::path folder =
      std::filesystem::path(STEELYARD_SOURCE_DIR "/fuzz/corpus") / GetParam().name;
  std::vector<std::filesystem::path> paths(std::filesystem::directory_iterator(folder), {});
  std::sort(paths.begin(), paths.end());
  ASSERT_FALSE(paths.empty());
  for (const std::filesystem::path& path : paths) {
    // A broken promise ends the process, so that the name must be out before.
    std::cout << path.filename().string() << std::endl;
    const Result<std::string> bytes = ReadFile(path);
    ASSERT_TRUE(bytes.ok()) << bytes.status().ToString();
    GetParam().run(*bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus,
                         testing::Values(Target{"placement", FuzzPlacement},
                                         Target{"loads", FuzzLoads}, Target{"h5", FuzzH5},
                                         Target{"plan", FuzzPlan}, Target{"toml", FuzzToml}),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace steelyard
