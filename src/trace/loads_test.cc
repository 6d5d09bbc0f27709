#include "trace/loads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/test_scale.h"
#include "trace/npy.h"
#include "trace/npz_for_test.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::ElementsAreArray;

class Loads : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / (std::string("steelyard_loads_") + info->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Write(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name) << contents;
    return folder_ / name;
  }

  std::string Refusal(const std::string& name, const std::string& contents) const {
    const fs::path path = Write(name, contents);
    const std::string message = ReadLoads(path).status().message();
    EXPECT_EQ(message.rfind(path.string() + ": ", 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message.substr(std::min(message.size(), path.string().size() + 2));
  }

  fs::path folder_;
};

TEST_F(Loads, AreOneOrMoreBinsOfLayersAndExperts) {
  const LoadWindow one = ReadLoads(Write("l.npy", NpyBytes({2, 3}, {1, 2, 3, 4, 5, 6}))).value();
  EXPECT_EQ(one.shape(), (LoadShape{1, 1, 2, 3}));
  EXPECT_THAT(one.experts(0, 0, 1), ElementsAre(4, 5, 6));
  const LoadWindow two = ReadLoads(Write("l.npy", NpyBytes({2, 1, 3}, {1, 2, 3, 4, 5, 6}))).value();
  EXPECT_EQ(two.shape(), (LoadShape{2, 1, 1, 3}));
  EXPECT_THAT(two.experts(1, 0, 0), ElementsAre(4, 5, 6));
}

TEST_F(Loads, AreReadFromJson) {
  const LoadWindow one = ReadLoads(Write("l.json", "[[1, 2.5, 3], [4, 5e1, 0]]")).value();
  EXPECT_EQ(one.shape(), (LoadShape{1, 1, 2, 3}));
  EXPECT_THAT(one.counts(), ElementsAre(1, 2.5, 3, 4, 50, 0));
  const LoadWindow two = ReadLoads(Write("l.json", "[[[1, 2]], [[3, 4]], [[5, 6]]]")).value();
  EXPECT_EQ(two.shape(), (LoadShape{3, 1, 1, 2}));
  EXPECT_THAT(two.counts(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(Loads, AreTheOnlyArrayOfAnNpzOrTheOneNamedSo) {
  const fs::path path = folder_ / "l.npz";
  WriteNpz(path, {{"arr_0.npy", NpyBytes({1, 2}, {3, 4})}});
  EXPECT_THAT(ReadLoads(path).value().counts(), ElementsAre(3, 4));
  WriteNpz(path, {{"steps.npy", NpyBytes({1}, {3})}, {"loads.npy", NpyBytes({1, 2}, {5, 6})}});
  EXPECT_THAT(ReadLoads(path).value().counts(), ElementsAre(5, 6));
  WriteNpz(path, {{"loads.npy", NpyBytes({1, 2}, {5, 6})}, {"counts.npy", NpyBytes({1, 1}, {7})}});
  EXPECT_THAT(ReadLoads(path).value().counts(), ElementsAre(7));
  WriteNpz(path, {{"a.npy", NpyBytes({1, 1}, {3})}, {"b.npy", NpyBytes({1, 2}, {5, 6})}});
  EXPECT_EQ(ReadLoads(path).status(),
            InvalidArgument(path.string() +
                            ": none of its 2 arrays is named \"counts\" or \"loads\" (a, b)"));
}

TEST_F(Loads, RefuseAnArrayOfAnotherKind) {
  EXPECT_EQ(Refusal("l.npy", NpyBytes({3}, {1, 2, 3})),
            "loads are [layers, experts] or [bins, layers, experts], but this array has 1 extent");
  EXPECT_EQ(Refusal("l.npy", NpyBytes({1, 1, 1, 1}, {1})),
            "loads are [layers, experts] or [bins, layers, experts], but this array has 4 extents");
  EXPECT_EQ(Refusal("l.npy", NpyBytes({3, 0}, {})), "num_experts is 0, but at least 1 is needed");
  EXPECT_EQ(Refusal("l.npy", NpyBytes({0, 4294967296}, {})),
            "an extent of 4294967296 is too large");
  EXPECT_EQ(Refusal("l.npy", FormatNpyHeader({'U', 4}, std::vector<size_t>{1, 1}) + "a   "),
            "entries of type 'U1' are not numbers");
  EXPECT_EQ(Refusal("l.npy", "hello"), "it does not begin as a .npy file does");
}

TEST_F(Loads, RefuseNegativeAndUnfiniteCountsWithTheirPlace) {
  const fs::path path = folder_ / "l.npy";
  const std::vector<size_t> shape = {2, 1, 2};
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> negative = {1, 2, 3, -4};
  ASSERT_TRUE(WriteNpyFile(path, shape, negative).ok());
  EXPECT_EQ(
      ReadLoads(path).status(),
      InvalidArgument(path.string() + ": bin 1, phase 0, layer 0, expert 1: count -4 is negative"));
  const std::vector<float> nan = {1, 2, kNan, 4};
  ASSERT_TRUE(WriteNpyFile(path, shape, nan).ok());
  EXPECT_EQ(ReadLoads(path).status(),
            InvalidArgument(path.string() +
                            ": bin 1, phase 0, layer 0, expert 0: count nan is not finite"));
  const std::vector<float> inf = {kInf, 2, 3, 4};
  ASSERT_TRUE(WriteNpyFile(path, shape, inf).ok());
  EXPECT_EQ(ReadLoads(path).status(),
            InvalidArgument(path.string() +
                            ": bin 0, phase 0, layer 0, expert 0: count inf is not finite"));
}

TEST_F(Loads, RefuseJsonOfAnotherForm) {
  struct Row {
    const char* json;
    const char* message;
  };
  const std::vector<Row> rows = {
      {"{}", "loads: object where an array belongs"},
      {"7", "loads: number where an array belongs"},
      {"[]", "loads are [layers, experts] or [bins, layers, experts], but this array has 1 extent"},
      {"[1, 2]",
       "loads are [layers, experts] or [bins, layers, experts], but this array has 1 extent"},
      {"[[], []]", "num_experts is 0, but at least 1 is needed"},
      {"[[1, 2], [3]]", "loads[1]: 1 entries, but those before it have 2"},
      {"[[[1], [2]], [[3]]]", "loads[1]: 1 entries, but those before it have 2"},
      {"[[[[1]]]]", "loads[0][0][0]: array where a number belongs"},
      {"[[1, [2]]]", "loads[0][1]: array where a number belongs"},
      {"[[1], 2]", "loads[1]: number where an array belongs"},
      {"[[1, \"2\"]]", "loads[0][1]: string is not a number"},
      {"[[1, null]]", "loads[0][1]: null is not a number"},
      {"[[1, true]]", "loads[0][1]: boolean is not a number"},
      {"[[1, -2]]", "bin 0, phase 0, layer 0, expert 1: count -2 is negative"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(Refusal("l.json", row.json), row.message) << row.json;
  }
}

TEST_F(Loads, AreOfAKnownExtension) {
  EXPECT_EQ(Refusal("trace.h5", ""), "HDF5 traces are not supported yet");
  EXPECT_EQ(ReadLoads(folder_ / "trace.hdf5").status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Refusal("loads.csv", "1,2"), "loads end in .npy, .npz or .json");
  EXPECT_EQ(Refusal("loads", "1,2"), "loads end in .npy, .npz or .json");
  EXPECT_EQ(ReadLoads(folder_ / "none.npy").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadLoads(folder_ / "none.npz").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadLoads(folder_ / "none.json").status().code(), StatusCode::kNotFound);
}

TEST_F(Loads, AreWrittenBinByBinAtTheEnd) {
  const fs::path path = folder_ / "trace.npy";
  LoadTraceWriter writer(2, 2);
  ASSERT_TRUE(writer.AppendBin(std::vector<double>{1, 2, 3, 4}).ok());
  ASSERT_TRUE(writer.AppendBin(std::vector<double>{5, 6, 7, 4294967295.0}).ok());
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE(writer.WriteTo(path).ok());
  EXPECT_EQ(ReadNpyFile(path).value().type, (NpyType{'u', 4}));
  const LoadWindow window = ReadLoads(path).value();
  EXPECT_EQ(window.shape(), (LoadShape{2, 1, 2, 2}));
  EXPECT_THAT(window.counts(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 4294967295.0));
}

TEST_F(Loads, AreWrittenOnlyAsWholeTokens) {
  LoadTraceWriter writer(1, 2);
  for (const double count : {0.5, -1.0, 4294967296.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_FALSE(writer.AppendBin(std::vector<double>{1, count}).ok()) << count;
  }
  EXPECT_EQ(writer.AppendBin(std::vector<double>{1, 0.5}),
            InvalidArgument("bin 0, layer 0, expert 1: 0.5 is not a whole number of tokens below "
                            "2^32"));
  EXPECT_EQ(writer.num_bins(), 0);
}

TEST_F(Loads, ThatWereWrittenAreReadBack) {
  for (int seed = 0; seed < Scaled(20); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const size_t num_layers = 1 + random() % 4;
    const size_t num_experts = 1 + random() % 9;
    LoadTraceWriter writer(static_cast<int>(num_layers), static_cast<int>(num_experts));
    std::vector<double> all;
    for (size_t bin = 0; bin < 1 + random() % 4; ++bin) {
      std::vector<double> counts(num_layers * num_experts);
      for (double& count : counts) {
        count = static_cast<double>(random());
      }
      ASSERT_TRUE(writer.AppendBin(counts).ok());
      all.insert(all.end(), counts.begin(), counts.end());
    }
    ASSERT_TRUE(writer.WriteTo(folder_ / "l.npy").ok());
    EXPECT_THAT(ReadLoads(folder_ / "l.npy").value().counts(), ElementsAreArray(all));
  }
}

}  // namespace
}  // namespace steelyard
