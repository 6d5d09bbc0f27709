// Records the loads of a run into a file while the run goes on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "steelyard/base/status.h"
#include "trace/load_trace.h"

namespace steelyard {

/// A trace that cannot be written (the disk is full, say) never stops what is recorded: it is
/// logged once, later bins are dropped, and Finish() tells.
///   `.h5`, `.hdf5`  bins go to the file one by one, on a thread of the recorder's; what is there
///                   stays there, whatever becomes of this process. A file without a bin is removed
///                   when Finish() was not called or failed;
///   `.npy`, `.npz`  bins are kept, phases summed, and the file appears in Finish() or not at all.
class TraceRecorder {
 public:
  /// Of `shape`, num_bins is not looked at. Fails, naming the path, when the extension is another
  /// one or a `.h5` file cannot be created.
  static Result<std::unique_ptr<TraceRecorder>> Start(const std::filesystem::path& path,
                                                      const LoadShape& shape,
                                                      const TraceOrigin& origin);
  /// Writes what `.h5` has not got yet.
  virtual ~TraceRecorder() = default;

  /// Takes a copy of all bins of `loads`, each of `steps_per_bin` >= 1 steps. Never waits for the
  /// file system. One thread at a time. Requires: at least one bin, of the shape that was given to
  /// Start().
  virtual void Add(const LoadWindow& loads, uint64_t steps_per_bin) = 0;

  /// Returns when everything is in the file. Fails with the first thing that went wrong, naming the
  /// path and how many bins are in the file. Nothing may be added then.
  virtual Status Finish() = 0;
};

}  // namespace steelyard
