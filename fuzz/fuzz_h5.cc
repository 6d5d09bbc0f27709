#include <algorithm>
#include <cmath>
#include <string>

#include "fuzz/scratch_folder.h"
#include "fuzz/targets.h"
#include "steelyard/base/check.h"
#include "trace/h5_reader.h"

namespace steelyard {

void FuzzH5(std::string_view bytes) {
  static const ScratchFolder folder;
  const Result<LoadTrace> trace = ReadH5Trace(folder.Write("in.h5", bytes));
  if (!trace.ok()) {
    STEELYARD_CHECK(trace.status().message().find("in.h5") != std::string::npos);
    return;
  }
  const LoadWindow& loads = trace->loads;
  STEELYARD_CHECK_EQ(loads.counts().size(), loads.shape().num_counts());
  STEELYARD_CHECK_EQ(trace->steps.size(), static_cast<size_t>(loads.shape().num_bins));
  STEELYARD_CHECK_NE(trace->steps.back(), 0U);
  STEELYARD_CHECK(std::all_of(loads.counts().begin(), loads.counts().end(),
                              [](double count) { return std::isfinite(count) && count >= 0; }));
}

}  // namespace steelyard
