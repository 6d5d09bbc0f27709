#include "trace/h5_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "trace/h5_attributes.h"
#include "trace/h5_format.h"
#include "trace/h5_handle.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

// HDF5 reads metadata again when their checksum is wrong, since they may just be written. It waits
// 1 ns before the second attempt and twice as long before every other, and would try 100 times.
constexpr unsigned kReadAttempts = 20;  // 1 ms in all

constexpr int kMostExtents = 4;
using Extents = std::array<hsize_t, kMostExtents>;  // unused ones are 1

struct Dataset {
  const char* name;
  H5Handle id;
  int num_extents = 0;
  Extents extents = {1, 1, 1, 1};

  Status Fail(std::string_view rule) const {
    return InvalidArgument(fmt::format("dataset {}: {}", name, rule));
  }
};

Result<H5Handle> OpenFile(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    return NotFound("cannot open: No such file or directory");
  }
  if (!fs::is_regular_file(status)) {
    return FailedPrecondition("cannot read: it is not a regular file");
  }
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_metadata_read_attempts(access.get(), kReadAttempts);
  // Files of an old format cannot be opened for SWMR, and those of a killed writer in no other way.
  H5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, access.get()));
  if (!file.ok()) {
    file = H5Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()));
  }
  if (!file.ok()) {
    return H5Error("read it as HDF5");
  }
  return file;
}

Result<Dataset> OpenDataset(hid_t file, const char* name, int num_extents,
                            std::string_view meaning) {
  const htri_t exists = H5Lexists(file, name, H5P_DEFAULT);
  if (exists == 0) {
    return InvalidArgument(fmt::format("dataset {} is missing", name));
  }
  Dataset dataset{.name = name,
                  .id = H5Handle(exists > 0 ? H5Dopen2(file, name, H5P_DEFAULT) : exists)};
  if (!dataset.id.ok()) {
    return H5Error(fmt::format("open dataset {}", name));
  }
  const H5Handle space(H5Dget_space(dataset.id.get()));
  dataset.num_extents = H5Sget_simple_extent_ndims(space.get());
  if (dataset.num_extents != num_extents) {
    return dataset.Fail(fmt::format("{} extents, not {}", dataset.num_extents, meaning));
  }
  H5Sget_simple_extent_dims(space.get(), dataset.extents.data(), nullptr);
  for (const hsize_t extent : dataset.extents) {
    if (extent > static_cast<hsize_t>(std::numeric_limits<int>::max())) {
      return dataset.Fail(fmt::format("an extent of {} is too large", extent));
    }
  }
  const H5Handle type(H5Dget_type(dataset.id.get()));
  if (H5Tget_class(type.get()) != H5T_INTEGER) {
    return dataset.Fail("its entries are not whole numbers");
  }
  return dataset;
}

// HDF5 reads zeros beyond the end of a file, and a chunk that was never written as zeros too. Here
// every chunk of the first `num_rows` rows must lie inside the file.
Status CheckChunks(const Dataset& dataset, const Extents& chunk, hsize_t num_rows,
                   uint64_t file_bytes) {
  Extents last = dataset.extents;
  last[0] = num_rows;
  Extents at = {};
  for (;;) {
    unsigned filters = 0;
    haddr_t address = HADDR_UNDEF;
    hsize_t size = 0;
    if (H5Dget_chunk_info_by_coord(dataset.id.get(), at.data(), &filters, &address, &size) < 0) {
      return H5Error(fmt::format("read dataset {}", dataset.name));
    }
    if (address == HADDR_UNDEF || size > file_bytes || address > file_bytes - size) {
      return dataset.Fail(fmt::format("row {} is not in the file, which is cut short", at[0]));
    }
    int d = dataset.num_extents - 1;
    while (d >= 0 && (at[d] += chunk[d]) >= last[d]) {
      at[d--] = 0;
    }
    if (d < 0) {
      return Status::Ok();
    }
  }
}

// What is read is bounded by what is there, never by what the extents claim.
Status CheckStored(const Dataset& dataset, hsize_t num_rows, uint64_t file_bytes) {
  const H5Handle options(H5Dget_create_plist(dataset.id.get()));
  const H5Handle type(H5Dget_type(dataset.id.get()));
  const bool is_packed = H5Pget_nfilters(options.get()) != 0;
  constexpr double kBestPacking = 1100.0;  // deflate cannot do better
  double num_bytes = static_cast<double>(H5Tget_size(type.get())) * static_cast<double>(num_rows);
  for (int d = 1; d < dataset.num_extents; ++d) {
    num_bytes *= static_cast<double>(dataset.extents[d]);
  }
  if (num_bytes > static_cast<double>(file_bytes) * (is_packed ? kBestPacking : 1.0)) {
    return dataset.Fail(fmt::format("{} bytes are in no file of {}", num_bytes, file_bytes));
  }
  if (H5Pget_layout(options.get()) == H5D_CHUNKED) {
    Extents chunk = {1, 1, 1, 1};
    H5Pget_chunk(options.get(), dataset.num_extents, chunk.data());
    return CheckChunks(dataset, chunk, num_rows, file_bytes);
  }
  if (H5Pget_layout(options.get()) == H5D_CONTIGUOUS) {
    const haddr_t address = H5Dget_offset(dataset.id.get());
    const hsize_t size = H5Dget_storage_size(dataset.id.get());
    if (address == HADDR_UNDEF || size > file_bytes || address > file_bytes - size) {
      return dataset.Fail("it is not in the file, which is cut short");
    }
  }
  return Status::Ok();
}

template <typename T>
Status ReadRows(const Dataset& dataset, hsize_t num_rows, hid_t type, std::vector<T>* values) {
  Extents size = dataset.extents;
  size[0] = num_rows;
  values->resize(size[0] * size[1] * size[2] * size[3]);
  const Extents start = {};
  const H5Handle in_file(H5Dget_space(dataset.id.get()));
  const H5Handle in_memory(H5Screate_simple(dataset.num_extents, size.data(), nullptr));
  if (H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(),
                          nullptr) < 0 ||
      H5Dread(dataset.id.get(), type, in_memory.get(), in_file.get(), H5P_DEFAULT, values->data()) <
          0) {
    return H5Error(fmt::format("read dataset {}", dataset.name));
  }
  return Status::Ok();
}

Result<LoadTrace> Read(const fs::path& path) {
  const H5Session session;
  STEELYARD_ASSIGN_OR_RETURN(const H5Handle file, OpenFile(path));
  STEELYARD_ASSIGN_OR_RETURN(
      const Dataset counts,
      OpenDataset(file.get(), kH5Counts, 4, "4: [bins, phases, layers, experts]"));
  STEELYARD_ASSIGN_OR_RETURN(const Dataset steps,
                             OpenDataset(file.get(), kH5Steps, 1, "1: [bins]"));
  std::error_code error;
  const uint64_t file_bytes = fs::file_size(path, error);  // a writer only makes it longer
  if (error) {
    return FailedPrecondition(fmt::format("cannot read: {}", error.message()));
  }

  LoadTrace trace;
  const hsize_t num_rows = std::min(counts.extents[0], steps.extents[0]);
  if (num_rows > 0) {
    STEELYARD_RETURN_IF_ERROR(CheckStored(steps, num_rows, file_bytes));
    STEELYARD_RETURN_IF_ERROR(ReadRows(steps, num_rows, H5T_NATIVE_UINT64, &trace.steps));
  }
  // A number of steps that was not written yet is 0.
  while (!trace.steps.empty() && trace.steps.back() == 0) {
    trace.steps.pop_back();
  }
  if (trace.steps.empty()) {
    return InvalidArgument("it has no complete bin");
  }
  const hsize_t num_bins = trace.steps.size();
  std::vector<double> values;
  for (int d = 1; d < 4; ++d) {
    if (counts.extents[d] == 0) {
      return counts.Fail(fmt::format("extent {} is 0", d));
    }
  }
  STEELYARD_RETURN_IF_ERROR(CheckStored(counts, num_bins, file_bytes));
  STEELYARD_RETURN_IF_ERROR(ReadRows(counts, num_bins, H5T_NATIVE_DOUBLE, &values));
  const LoadShape shape{static_cast<int>(num_bins), static_cast<int>(counts.extents[1]),
                        static_cast<int>(counts.extents[2]), static_cast<int>(counts.extents[3])};
  STEELYARD_ASSIGN_OR_RETURN(trace.loads, LoadWindow::Create(shape, std::move(values)));
  STEELYARD_ASSIGN_OR_RETURN(trace.origin, ReadOrigin(file.get(), shape.num_phases));
  return trace;
}

}  // namespace

Result<LoadTrace> ReadH5Trace(const fs::path& path) {
  try {
    Result<LoadTrace> trace = Read(path);
    return trace.ok() ? std::move(trace) : trace.status().WithContext(path.string());
  } catch (const std::bad_alloc&) {
    return FailedPrecondition(fmt::format("{}: it does not fit into memory", path.string()));
  }
}

}  // namespace steelyard
