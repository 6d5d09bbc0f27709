// The examples of other systems' files, and a folder to write files of their formats to.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "steelyard/placement/placement_formats.h"

namespace steelyard {

inline const std::filesystem::path kExamples = STEELYARD_SOURCE_DIR "/tests/data/formats";

constexpr PlacementFormat kForeign[] = {PlacementFormat::kVllmAscend, PlacementFormat::kSglang,
                                        PlacementFormat::kTensorrtLlm};

inline ImportOptions FourRanks() {
  ImportOptions options;
  options.num_ranks = 4;
  return options;
}

class FormatsTest : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("steelyard_formats_") + info->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  std::filesystem::path PathOf(PlacementFormat format) const {
    return folder_ / (format == PlacementFormat::kTensorrtLlm ? "p.yaml" : "p.json");
  }

  std::filesystem::path folder_;
};

}  // namespace steelyard
