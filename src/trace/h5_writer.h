// Appends bins of loads to an HDF5 file that others may read meanwhile, and after this process was
// killed. docs/formats.md describes the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "steelyard/base/status.h"
#include "trace/load_trace.h"

namespace steelyard {

/// One thread at a time. Calls wait for the file system, so none belongs on the step path.
class H5TraceWriter {
 public:
  /// Creates the file under a temporary name and renames it once it is readable: who opens `path`
  /// finds what was there before, or a trace. Of `shape`, num_bins is not looked at.
  /// Fails naming the path and what the system said; nothing is left behind then.
  /// Requires: other extents >= 1; phase_names empty or one per phase.
  static Result<std::unique_ptr<H5TraceWriter>> Create(const std::filesystem::path& path,
                                                       const LoadShape& shape,
                                                       const TraceOrigin& origin);
  /// Closes the file; a failure of that goes unnoticed.
  ~H5TraceWriter();
  H5TraceWriter(const H5TraceWriter&) = delete;
  H5TraceWriter& operator=(const H5TraceWriter&) = delete;

  /// Bins that readers find.
  int num_bins() const { return num_bins_; }

  /// Adds `counts` [num_phases, num_layers, num_experts] of a bin of `steps` steps; readers find it
  /// when this returns. After a failure (the disk is full, say), which names the path, the file
  /// stays as it is with the bins before, and this fails with kFailedPrecondition.
  /// Requires: steps >= 1.
  Status Append(std::span<const uint32_t> counts, uint64_t steps);

  /// Marks the file as complete, so that plain readers open it too. Nothing can be appended then.
  Status Close();

 private:
  struct File;  // HDF5's handles
  H5TraceWriter(std::filesystem::path path, std::unique_ptr<File> file);
  Status Fail(std::string what);

  std::filesystem::path path_;
  std::unique_ptr<File> file_;  // null once closed or given up
  int num_bins_ = 0;
};

}  // namespace steelyard
