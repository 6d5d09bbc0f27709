// Parts of a trace, and coarser bins of it.
#pragma once

#include "steelyard/base/status.h"
#include "trace/load_trace.h"

namespace steelyard {

/// Which bins and layers are kept, [first, end) each, and how many bins in a row become one. An end
/// of -1 is the last.
struct TraceEdit {
  int first_bin = 0;
  int end_bin = -1;
  int first_layer = 0;
  int end_layer = -1;
  int merge_bins = 1;
};

/// Cuts first, then adds up bins and their steps; bins at the end that do not fill a merged one are
/// dropped. Fails with kInvalidArgument, naming the rule, when nothing is left or a range lies
/// outside the trace. Requires: merge_bins >= 1.
Result<LoadTrace> EditTrace(const LoadTrace& trace, const TraceEdit& edit);

}  // namespace steelyard
