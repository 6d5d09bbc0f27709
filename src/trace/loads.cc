#include "trace/loads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/json.h"
#include "steelyard/base/check.h"
#include "trace/npy.h"
#include "trace/npz.h"

namespace steelyard {
namespace {

struct Counts {
  std::vector<size_t> shape;
  std::vector<double> values;
};

// Nested JSON arrays on their way to counts. `place` is where the walk stands.
struct JsonWalk {
  Counts counts;
  std::vector<size_t> place;

  Status Fail(std::string_view rule) const {
    std::string text = "loads";
    for (const size_t index : place) {
      text += fmt::format("[{}]", index);
    }
    return InvalidArgument(fmt::format("{}: {}", text, rule));
  }
};

Result<LoadWindow> ToWindow(Counts counts) {
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

// Appends what `json` holds. The extent of each depth is set by the first array met there, and all
// others must agree.
Status Flatten(const Json& json, JsonWalk& walk) {
  constexpr size_t kMaxDepth = 3;
  const size_t depth = walk.place.size();
  std::vector<size_t>& shape = walk.counts.shape;
  std::vector<double>& values = walk.counts.values;
  if (!json.is_array()) {
    if (depth == 0 || depth != shape.size()) {
      return walk.Fail(fmt::format("{} where an array belongs", json.type_name()));
    }
    if (!json.is_number()) {
      return walk.Fail(fmt::format("{} is not a number", json.type_name()));
    }
    values.push_back(json.get<double>());
    return Status::Ok();
  }
  if (depth == shape.size() && values.empty() && depth < kMaxDepth) {
    shape.push_back(json.size());
  }
  if (depth >= shape.size()) {
    return walk.Fail("array where a number belongs");
  }
  if (json.size() != shape[depth]) {
    return walk.Fail(
        fmt::format("{} entries, but those before it have {}", json.size(), shape[depth]));
  }
  for (size_t i = 0; i < json.size(); ++i) {
    walk.place.push_back(i);
    STEELYARD_RETURN_IF_ERROR(Flatten(json[i], walk));
    walk.place.pop_back();
  }
  return Status::Ok();
}

Result<LoadWindow> WindowOfJson(const Json& json) {
  JsonWalk walk;
  STEELYARD_RETURN_IF_ERROR(Flatten(json, walk));
  return ToWindow(std::move(walk.counts));
}

Result<LoadWindow> Named(const std::filesystem::path& path, Result<LoadWindow> window) {
  if (!window.ok()) {
    return window.status().WithContext(path.string());
  }
  return window;
}

}  // namespace

Result<LoadWindow> ReadLoads(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
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
    return Named(path, WindowOfJson(json));
  }
  if (extension == ".h5" || extension == ".hdf5") {
    return Unimplemented(fmt::format("{}: HDF5 traces are not supported yet", path.string()));
  }
  return InvalidArgument(fmt::format("{}: loads end in .npy, .npz or .json", path.string()));
}

LoadTraceWriter::LoadTraceWriter(int num_layers, int num_experts)
    : num_layers_(num_layers), num_experts_(num_experts) {
  STEELYARD_CHECK_GE(num_layers, 1);
  STEELYARD_CHECK_GE(num_experts, 1);
}

Status LoadTraceWriter::AppendBin(std::span<const double> counts) {
  STEELYARD_CHECK_EQ(counts.size(), static_cast<size_t>(num_layers_) * num_experts_);
  constexpr double kEnd = 4294967296.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (!(counts[i] >= 0 && counts[i] < kEnd && counts[i] == std::floor(counts[i]))) {
      return InvalidArgument(
          fmt::format("bin {}, layer {}, expert {}: {} is not a whole number of tokens below 2^32",
                      num_bins_, i / num_experts_, i % num_experts_, counts[i]));
    }
  }
  for (const double count : counts) {
    counts_.push_back(static_cast<uint32_t>(count));
  }
  ++num_bins_;
  return Status::Ok();
}

Status LoadTraceWriter::WriteTo(const std::filesystem::path& path) const {
  const std::vector<size_t> shape = {static_cast<size_t>(num_bins_),
                                     static_cast<size_t>(num_layers_),
                                     static_cast<size_t>(num_experts_)};
  return WriteNpyFile(path, shape, counts_);
}

}  // namespace steelyard
