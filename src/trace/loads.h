// Recorded loads in files: read from whatever a user has, written as others read them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "trace/load_trace.h"

namespace steelyard {

/// Reads loads from
///   `.h5`, `.hdf5`  a trace (h5_reader.h), phases kept;
///   `.npy`, `.npz`  [num_layers, num_experts] or [num_bins, num_layers, num_experts], integers or
///                   floats; of several arrays in a `.npz` the one named "counts" or else "loads";
///   `.json`         such an array, or SGLang's object with "logical_count".
/// All but traces have one phase, no steps and no origin. Fails, naming file, place and rule, when
/// a count is negative or not finite, the shape is another one, or the extension is.
Result<LoadTrace> ReadLoadTrace(const std::filesystem::path& path);

/// The loads alone.
Result<LoadWindow> ReadLoads(const std::filesystem::path& path);

/// Whether `path` ends as files of loads do; JSON, which can be anything, not included.
bool HasTraceExtension(const std::filesystem::path& path);

/// Whether it ends as HDF5 traces do, the only ones that tell phases apart.
bool KeepsPhases(const std::filesystem::path& path);

/// Writes `.h5` or `.hdf5` with everything (bins of one step where `trace` does not know), or
/// `.npy` or `.npz` [num_bins, num_layers, num_experts] with phases summed: uint32 where every sum
/// is a whole number below 2^32, else float64. `.npz` holds one array, "counts".
/// Fails, naming the file, when the extension is another one, or a count cannot stand in a trace.
Status WriteLoadTrace(const std::filesystem::path& path, const LoadTrace& trace);

/// Phases added up: [num_bins, num_layers, num_experts].
std::vector<double> SumPhases(const LoadWindow& loads);

/// `counts`, which are of `loads`' shape after the bins, as a file holds them.
/// Fails with kInvalidArgument, naming the place, when one is not a whole number below 2^32.
Result<std::vector<uint32_t>> WholeTokens(std::span<const double> counts, const LoadShape& shape);

}  // namespace steelyard
