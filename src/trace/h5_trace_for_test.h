// Traces with contents that every bin's number determines. Only tests include this.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "steelyard/load/load_window.h"
#include "trace/h5_writer.h"

namespace steelyard {

/// A folder that goes with the test.
class H5TraceTest : public testing::Test {
 protected:
  H5TraceTest() {
    std::string name = (std::filesystem::temp_directory_path() / "steelyard_h5_XXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = folder_ / "trace.h5";
  }
  ~H5TraceTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

inline constexpr LoadShape kTestShape{0, 2, 3, 5};

inline std::vector<uint32_t> CountsOfBin(int bin, const LoadShape& shape = kTestShape) {
  std::vector<uint32_t> counts(size_t{1} * shape.num_phases * shape.num_layers * shape.num_experts);
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = 1000u * static_cast<uint32_t>(bin + 1) + static_cast<uint32_t>(i);
  }
  return counts;
}

inline uint64_t StepsOfBin(int bin) { return static_cast<uint64_t>(bin % 7 + 1); }

inline TraceOrigin TestOrigin() { return {{"prefill", "decode"}, "a model", 4, 9, 2, 6}; }

inline Status AppendBins(H5TraceWriter& writer, int first, int end,
                         const LoadShape& shape = kTestShape) {
  for (int bin = first; bin < end; ++bin) {
    STEELYARD_RETURN_IF_ERROR(writer.Append(CountsOfBin(bin, shape), StepsOfBin(bin)));
  }
  return Status::Ok();
}

/// That `trace` is bins 0 .. num_bins - 1, exactly.
inline void ExpectBins(const LoadTrace& trace, int num_bins, const LoadShape& shape = kTestShape) {
  LoadShape expected = shape;
  expected.num_bins = num_bins;
  ASSERT_EQ(trace.loads.shape(), expected) << trace.loads.ToString();
  ASSERT_EQ(trace.steps.size(), static_cast<size_t>(num_bins));
  size_t at = 0;
  for (int bin = 0; bin < num_bins; ++bin) {
    ASSERT_EQ(trace.steps[bin], StepsOfBin(bin)) << "bin " << bin;
    for (const uint32_t count : CountsOfBin(bin, shape)) {
      ASSERT_EQ(trace.loads.counts()[at++], count) << "bin " << bin;
    }
  }
  EXPECT_EQ(trace.origin, TestOrigin());
}

}  // namespace steelyard
