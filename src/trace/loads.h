// Recorded loads in files: read from whatever a user has, written as NumPy reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"

namespace steelyard {

/// Reads [num_layers, num_experts] or [num_bins, num_layers, num_experts], as a window of one
/// phase, from `.npy` or `.npz` (integers or floats; of several arrays in a `.npz` the one named
/// "counts" or else "loads") or from a JSON array. Fails, naming file, place and rule, when a count
/// is negative or not finite, the shape is another one, or the extension is.
Result<LoadWindow> ReadLoads(const std::filesystem::path& path);

/// Collects bins and writes them at the end, so that no reader sees a part.
class LoadTraceWriter {
 public:
  /// Requires: both positive.
  LoadTraceWriter(int num_layers, int num_experts);

  int num_bins() const { return num_bins_; }

  /// Takes `counts` [num_layers, num_experts] as the next bin.
  /// Fails with kInvalidArgument when one is not a whole number of tokens below 2^32.
  Status AppendBin(std::span<const double> counts);

  /// Writes `.npy`, uint32 [num_bins, num_layers, num_experts], atomically.
  Status WriteTo(const std::filesystem::path& path) const;

 private:
  int num_layers_;
  int num_experts_;
  int num_bins_ = 0;
  std::vector<uint32_t> counts_;  // [num_bins, num_layers, num_experts]
};

}  // namespace steelyard
