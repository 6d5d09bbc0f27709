#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "fuzz/scratch_folder.h"
#include "fuzz/targets.h"
#include "steelyard/base/check.h"
#include "trace/loads.h"
#include "trace/npy.h"

namespace steelyard {
namespace {

void CheckCounts(const LoadWindow& loads) {
  STEELYARD_CHECK_EQ(loads.counts().size(), loads.shape().num_counts());
  STEELYARD_CHECK(std::all_of(loads.counts().begin(), loads.counts().end(),
                              [](double count) { return std::isfinite(count) && count >= 0; }));
}

void CheckRoundTrip(const std::filesystem::path& path, const LoadTrace& trace) {
  const Status written = WriteLoadTrace(path, trace);
  STEELYARD_CHECK_EQ(written.message(), "");
  const Result<LoadWindow> again = ReadLoads(path);
  STEELYARD_CHECK_EQ(again.status().message(), "");
  STEELYARD_CHECK(again->shape() == trace.loads.shape());
  STEELYARD_CHECK(std::equal(again->counts().begin(), again->counts().end(),
                             trace.loads.counts().begin(), trace.loads.counts().end()));
}

}  // namespace

void FuzzLoads(std::string_view bytes) {
  static const ScratchFolder folder;
  if (const Result<NpyArray> array = ParseNpy(std::as_bytes(std::span(bytes))); array.ok()) {
    STEELYARD_CHECK_EQ(array->ToDoubles().ok(), array->type.kind != 'U');
    (void)array->ToStrings();
  }
  for (const char* name : {"in.npy", "in.npz", "in.json"}) {
    const Result<LoadTrace> trace = ReadLoadTrace(folder.Write(name, bytes));
    if (!trace.ok()) {
      STEELYARD_CHECK(trace.status().message().find(name) != std::string::npos);
      continue;
    }
    CheckCounts(trace->loads);
    CheckRoundTrip(folder.PathOf("out.npy"), *trace);
    CheckRoundTrip(folder.PathOf("out.npz"), *trace);
  }
}

}  // namespace steelyard
