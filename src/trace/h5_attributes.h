// The attributes of a trace file: what it is, and where its loads came from.
//
// Called inside an H5Session.
#pragma once

#include <hdf5.h>

#include "steelyard/base/status.h"
#include "trace/load_trace.h"

namespace steelyard {

/// Gives `file` its format, version and whatever `origin` knows.
Status WriteOrigin(hid_t file, const TraceOrigin& origin);

/// Any attribute may be missing. Fails naming the one that is of another type or extent, and when
/// format or version are others. The caller adds the file.
Result<TraceOrigin> ReadOrigin(hid_t file, int num_phases);

}  // namespace steelyard
