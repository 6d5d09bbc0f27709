#include "trace/loads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "trace/h5_reader.h"
#include "trace/h5_writer.h"
#include "trace/json_loads.h"
#include "trace/npy.h"
#include "trace/npz.h"

namespace steelyard {
namespace {

Result<LoadWindow> ToWindow(CountArray counts) {
  if (counts.shape.size() == 2) {
    counts.shape.insert(counts.shape.begin(), 1);
  }
  if (counts.shape.size() != 3) {
    return InvalidArgument(
        fmt::format("loads are [layers, experts] or [bins, layers, experts], but this array has {} "
                    "extent{}",
                    counts.shape.size(), counts.shape.size() == 1 ? "" : "s"));
  }
  for (const size_t extent : counts.shape) {
    if (extent > static_cast<size_t>(std::numeric_limits<int>::max())) {
      return InvalidArgument(fmt::format("an extent of {} is too large", extent));
    }
  }
  const LoadShape shape{.num_bins = static_cast<int>(counts.shape[0]),
                        .num_phases = 1,
                        .num_layers = static_cast<int>(counts.shape[1]),
                        .num_experts = static_cast<int>(counts.shape[2])};
  return LoadWindow::Create(shape, std::move(counts.values));
}

Result<LoadWindow> WindowOfArray(const NpyArray& array) {
  STEELYARD_ASSIGN_OR_RETURN(std::vector<double> values, array.ToDoubles());
  return ToWindow({array.shape, std::move(values)});
}

Result<NpyArray> ReadLoadsOfNpz(const std::filesystem::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(const NpzFile file, NpzFile::Open(path));
  const std::vector<std::string>& names = file.names();
  if (names.size() == 1) {
    return file.Read(names[0]);
  }
  for (const char* name : {"counts", "loads"}) {
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return file.Read(name);
    }
  }
  constexpr size_t kMaxNamed = 8;
  std::string listed = names.empty() ? "it is empty" : "";
  for (size_t i = 0; i < std::min(names.size(), kMaxNamed); ++i) {
    listed += fmt::format("{}{}", i == 0 ? "" : ", ", names[i]);
  }
  return InvalidArgument(
      fmt::format("{}: none of its {} arrays is named \"counts\" or \"loads\" ({}{})",
                  path.string(), names.size(), listed, names.size() > kMaxNamed ? ", .." : ""));
}

Result<LoadWindow> Named(const std::filesystem::path& path, Result<LoadWindow> window) {
  if (!window.ok()) {
    return window.status().WithContext(path.string());
  }
  return window;
}

// All kinds but HDF5.
Result<LoadWindow> ReadArray(const std::filesystem::path& path, const std::string& extension) {
  if (extension == ".npy") {
    STEELYARD_ASSIGN_OR_RETURN(const NpyArray array, ReadNpyFile(path));
    return Named(path, WindowOfArray(array));
  }
  if (extension == ".npz") {
    STEELYARD_ASSIGN_OR_RETURN(const NpyArray array, ReadLoadsOfNpz(path));
    return Named(path, WindowOfArray(array));
  }
  if (extension == ".json") {
    STEELYARD_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
    Result<CountArray> counts = CountsOfJson(json);
    return Named(path, counts.ok() ? ToWindow(*std::move(counts)) : counts.status());
  }
  if (extension == ".pt") {
    return InvalidArgument(fmt::format(
        "{}: a .pt file is a Python program; python/steelyard_tools/convert_pt.py makes a .npy of "
        "it without running it",
        path.string()));
  }
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return NotFound(fmt::format("{}: no such file", path.string()));
  }
  return InvalidArgument(fmt::format("{}: loads end in .h5, .npy, .npz or .json", path.string()));
}

Status WriteH5(const std::filesystem::path& path, const LoadTrace& trace) {
  const LoadShape& shape = trace.loads.shape();
  Result<std::vector<uint32_t>> counts = WholeTokens(trace.loads.counts(), shape);
  if (!counts.ok()) {
    return counts.status().WithContext(path.string());
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::unique_ptr<H5TraceWriter> writer,
                             H5TraceWriter::Create(path, shape, trace.origin));
  const size_t per_bin = counts->size() / shape.num_bins;
  for (int bin = 0; bin < shape.num_bins; ++bin) {
    const uint64_t steps = trace.steps.empty() ? 1 : trace.steps[bin];
    STEELYARD_RETURN_IF_ERROR(
        writer->Append(std::span(*counts).subspan(bin * per_bin, per_bin), steps));
  }
  return writer->Close();
}

template <typename T>
Status WriteArray(const std::filesystem::path& path, const LoadShape& shape,
                  const std::vector<T>& counts) {
  const size_t extents[] = {static_cast<size_t>(shape.num_bins),
                            static_cast<size_t>(shape.num_layers),
                            static_cast<size_t>(shape.num_experts)};
  const std::string npy = FormatNpy(extents, std::span<const T>(counts));
  return path.extension() == ".npy" ? WriteFileAtomically(path, npy)
                                    : WriteNpzFile(path, "counts", npy);
}

}  // namespace

Result<LoadTrace> ReadLoadTrace(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  if (KeepsPhases(path)) {
    return ReadH5Trace(path);
  }
  STEELYARD_ASSIGN_OR_RETURN(LoadWindow loads, ReadArray(path, extension));
  return LoadTrace{std::move(loads), {}, {}};
}

Result<LoadWindow> ReadLoads(const std::filesystem::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(LoadTrace trace, ReadLoadTrace(path));
  return std::move(trace.loads);
}

bool HasTraceExtension(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return KeepsPhases(path) || extension == ".npy" || extension == ".npz";
}

bool KeepsPhases(const std::filesystem::path& path) {
  return path.extension() == ".h5" || path.extension() == ".hdf5";
}

Status WriteLoadTrace(const std::filesystem::path& path, const LoadTrace& trace) {
  if (!HasTraceExtension(path)) {
    return InvalidArgument(fmt::format("{}: traces end in .h5, .npy or .npz", path.string()));
  }
  if (KeepsPhases(path)) {
    return WriteH5(path, trace);
  }
  LoadShape shape = trace.loads.shape();
  shape.num_phases = 1;
  const std::vector<double> counts = SumPhases(trace.loads);
  const Result<std::vector<uint32_t>> whole = WholeTokens(counts, shape);
  return whole.ok() ? WriteArray(path, shape, *whole) : WriteArray(path, shape, counts);
}

std::vector<double> SumPhases(const LoadWindow& loads) {
  const LoadShape& shape = loads.shape();
  const size_t per_phase = size_t{1} * shape.num_layers * shape.num_experts;
  std::vector<double> sums(shape.num_bins * per_phase);
  for (int bin = 0; bin < shape.num_bins; ++bin) {
    for (int phase = 0; phase < shape.num_phases; ++phase) {
      const std::span<const double> counts = loads.counts().subspan(
          (size_t{1} * bin * shape.num_phases + phase) * per_phase, per_phase);
      for (size_t i = 0; i < per_phase; ++i) {
        sums[bin * per_phase + i] += counts[i];
      }
    }
  }
  return sums;
}

Result<std::vector<uint32_t>> WholeTokens(std::span<const double> counts, const LoadShape& shape) {
  constexpr double kEnd = 4294967296.0;
  std::vector<uint32_t> whole(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) {
    if (!(counts[i] >= 0 && counts[i] < kEnd && counts[i] == std::floor(counts[i]))) {
      const size_t layer = i / shape.num_experts % shape.num_layers;
      const size_t row = i / shape.num_experts / shape.num_layers;
      return InvalidArgument(fmt::format(
          "bin {}, phase {}, layer {}, expert {}: {} is not a whole number of tokens below 2^32",
          row / shape.num_phases, row % shape.num_phases, layer, i % shape.num_experts, counts[i]));
    }
    whole[i] = static_cast<uint32_t>(counts[i]);
  }
  return whole;
}

}  // namespace steelyard
