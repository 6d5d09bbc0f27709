// Reads load traces from HDF5, also one that is being written or whose writer was killed.
#pragma once

#include <filesystem>

#include "steelyard/base/status.h"
#include "trace/load_trace.h"

namespace steelyard {

/// The complete bins: as many as both `counts` [bins, phases, layers, experts] and `steps` [bins]
/// have, without those at the end that say 0 steps.
/// Fails naming file, place and rule when it is no HDF5 file, is cut short, lacks either or has it
/// in another rank or type, holds no complete bin, or an attribute is not what it should be.
/// Safe from any thread; one reads at a time.
Result<LoadTrace> ReadH5Trace(const std::filesystem::path& path);

}  // namespace steelyard
