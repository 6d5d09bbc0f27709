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
      {"{}",
       "loads are an array, or an object with \"logical_count\" as SGLang writes it; this object "
       "has none"},
      {R"({"logical_count": [[1]], "logical_count": [[2]]})",
       "line 1, column 26: key \"logical_count\" is there twice in one object"},
      {R"({"logical_count": {}})", "logical_count: object where an array belongs"},
      {R"({"logical_count": [[1], ["2"]]})", "logical_count[1][0]: string is not a number"},
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

TEST_F(Loads, AreReadFromWhatSglangRecords) {
  const fs::path folder = STEELYARD_SOURCE_DIR "/tests/data/loads";
  const LoadWindow one = ReadLoads(folder / "sglang_logical_count_2d.json").value();
  EXPECT_EQ(one.shape(), (LoadShape{1, 1, 2, 8}));
  const LoadWindow steps = ReadLoads(folder / "sglang_logical_count_3d.json").value();
  EXPECT_EQ(steps.shape(), (LoadShape{5, 1, 2, 8}));
  EXPECT_EQ(ReadLoads(folder / "sglang_count_negative.json").status().message(),
            (folder / "sglang_count_negative.json").string() +
                ": bin 0, phase 0, layer 0, expert 2: count -3 is negative");
  const LoadWindow floats =
      ReadLoads(Write("l.json", R"({"rank": 0, "logical_count": [[1.5, 2]], "other": null})"))
          .value();
  EXPECT_THAT(floats.counts(), ElementsAre(1.5, 2));
}

TEST_F(Loads, AreOfAKnownExtension) {
  EXPECT_EQ(Refusal("loads.csv", "1,2"), "loads end in .h5, .npy, .npz or .json");
  EXPECT_EQ(Refusal("loads", "1,2"), "loads end in .h5, .npy, .npz or .json");
  EXPECT_THAT(Refusal("dump.pt", "PK"), testing::HasSubstr("convert_pt.py makes a .npy of it"));
  for (const char* name : {"none.h5", "none.hdf5", "none.npy", "none.npz", "none.json"}) {
    EXPECT_EQ(ReadLoads(folder_ / name).status().code(), StatusCode::kNotFound) << name;
  }
}

LoadTrace RandomTrace(std::mt19937& random, int num_phases) {
  const LoadShape shape{static_cast<int>(1 + random() % 4), num_phases,
                        static_cast<int>(1 + random() % 4), static_cast<int>(1 + random() % 9)};
  std::vector<double> counts(shape.num_counts());
  for (double& count : counts) {
    const auto whole = random() / num_phases;
    count = static_cast<double>(whole);
  }
  LoadTrace trace{LoadWindow::Create(shape, counts).value(), {}, {}};
  for (int bin = 0; bin < shape.num_bins; ++bin) {
    trace.steps.push_back(1 + random() % 100);
  }
  return trace;
}

TEST_F(Loads, ThatWereWrittenAreReadBack) {
  for (int seed = 0; seed < Scaled(20); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const LoadTrace trace = RandomTrace(random, 1);
    for (const char* name : {"l.npy", "l.npz", "l.h5"}) {
      ASSERT_EQ(WriteLoadTrace(folder_ / name, trace), Status::Ok());
      const LoadTrace read = ReadLoadTrace(folder_ / name).value();
      EXPECT_EQ(read.loads.shape(), trace.loads.shape());
      EXPECT_THAT(read.loads.counts(), ElementsAreArray(trace.loads.counts()));
    }
    EXPECT_EQ(ReadLoadTrace(folder_ / "l.h5").value().steps, trace.steps);
    EXPECT_EQ(ReadNpyFile(folder_ / "l.npy").value().type, (NpyType{'u', 4}));
  }
}

TEST_F(Loads, KeepTheirPhasesInHdf5AndAreSummedInArrays) {
  std::mt19937 random(7);
  LoadTrace trace = RandomTrace(random, 2);
  trace.origin.phase_names = {"prefill", "decode"};
  ASSERT_EQ(WriteLoadTrace(folder_ / "l.h5", trace), Status::Ok());
  const LoadTrace kept = ReadLoadTrace(folder_ / "l.h5").value();
  EXPECT_THAT(kept.loads.counts(), ElementsAreArray(trace.loads.counts()));
  EXPECT_EQ(kept.origin, trace.origin);
  ASSERT_EQ(WriteLoadTrace(folder_ / "l.npz", trace), Status::Ok());
  const LoadTrace summed = ReadLoadTrace(folder_ / "l.npz").value();
  EXPECT_EQ(summed.loads.shape().num_phases, 1);
  EXPECT_EQ(summed.loads.experts(0, 0, 0)[0],
            trace.loads.experts(0, 0, 0)[0] + trace.loads.experts(0, 1, 0)[0]);
  EXPECT_THAT(summed.loads.counts(), ElementsAreArray(SumPhases(trace.loads)));
}

TEST_F(Loads, ThatAreNoWholeNumbersAreWrittenAsFloats) {
  const LoadTrace trace{LoadWindow::Create({1, 1, 1, 2}, {0.5, 4294967296.0}).value(), {}, {}};
  for (const char* name : {"l.npy", "l.npz"}) {
    ASSERT_EQ(WriteLoadTrace(folder_ / name, trace), Status::Ok());
    EXPECT_THAT(ReadLoads(folder_ / name).value().counts(), ElementsAre(0.5, 4294967296.0));
  }
  EXPECT_EQ(WriteLoadTrace(folder_ / "l.h5", trace).message(),
            (folder_ / "l.h5").string() +
                ": bin 0, phase 0, layer 0, expert 0: 0.5 is not a whole number of tokens below "
                "2^32");
  EXPECT_FALSE(fs::exists(folder_ / "l.h5"));
  EXPECT_EQ(WriteLoadTrace(folder_ / "l.csv", trace).message(),
            (folder_ / "l.csv").string() + ": traces end in .h5, .npy or .npz");
}

TEST_F(Loads, AreWholeTokensOrNamed) {
  const LoadShape shape{1, 2, 2, 2};
  for (const double count : {0.5, -1.0, 4294967296.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_FALSE(WholeTokens(std::vector<double>{1, count}, {1, 1, 1, 2}).ok()) << count;
  }
  EXPECT_EQ(WholeTokens(std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8.5}, shape).status().message(),
            "bin 0, phase 1, layer 1, expert 1: 8.5 is not a whole number of tokens below 2^32");
  EXPECT_THAT(WholeTokens(std::vector<double>{0, 4294967295.0}, {1, 1, 1, 2}).value(),
              ElementsAre(0u, 4294967295u));
}

}  // namespace
}  // namespace steelyard
