// `convert` for files of loads.
#pragma once

#include <filesystem>
#include <string>

#include "steelyard/base/status.h"

namespace steelyard {

/// What `convert` is asked to do with a trace. Ranges are "FIRST:END", either of which may be left
/// out; empty keeps all.
struct ConvertTraceOptions {
  std::string in;
  std::string out;
  std::string bins;
  std::string layers;
  int merge_bins = 1;
};

/// Whether `path` holds loads: by its extension, and JSON by what is in it (an array, or SGLang's
/// "logical_count"). A file that cannot be read holds none.
bool IsTraceFile(const std::filesystem::path& path);

/// Reads `in`, cuts and merges, and writes `out`, a .h5, .npy or .npz. Throws UsageError for a
/// range that is none; says on success, on one line, what was written.
Result<std::string> ConvertTrace(const ConvertTraceOptions& options);

}  // namespace steelyard
