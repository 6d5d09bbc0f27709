#include "trace/h5_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "steelyard/base/check.h"
#include "trace/h5_attributes.h"
#include "trace/h5_format.h"
#include "trace/h5_handle.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

// A chunk of `steps` holds this many: one page of a file.
constexpr hsize_t kStepsPerChunk = 512;

// An empty dataset that grows along its first extent.
Result<H5Handle> CreateDataset(hid_t file, const char* name, hid_t type,
                               std::span<const hsize_t> chunk) {
  std::array<hsize_t, 4> now = {};
  std::array<hsize_t, 4> most = {};
  std::copy(chunk.begin(), chunk.end(), now.begin());
  std::copy(chunk.begin(), chunk.end(), most.begin());
  now[0] = 0;
  most[0] = H5S_UNLIMITED;
  const int rank = static_cast<int>(chunk.size());
  const H5Handle space(H5Screate_simple(rank, now.data(), most.data()));
  const H5Handle options(H5Pcreate(H5P_DATASET_CREATE));
  if (H5Pset_chunk(options.get(), rank, chunk.data()) < 0) {
    return H5Error(fmt::format("create dataset {}", name));
  }
  H5Handle dataset(
      H5Dcreate2(file, name, type, space.get(), H5P_DEFAULT, options.get(), H5P_DEFAULT));
  if (!dataset.ok()) {
    return H5Error(fmt::format("create dataset {}", name));
  }
  return dataset;
}

// Makes `dataset` one longer and writes `row` there, then everything of it to the file: first the
// row, then what lets a reader find it.
template <typename T>
Status AppendRow(hid_t dataset, hid_t type, int row_idx, std::span<const hsize_t> extents,
                 std::span<const T> row) {
  std::array<hsize_t, 4> size = {};
  std::array<hsize_t, 4> start = {};
  std::copy(extents.begin(), extents.end(), size.begin());
  start[0] = static_cast<hsize_t>(row_idx);
  size[0] = start[0] + 1;
  if (H5Dset_extent(dataset, size.data()) < 0) {
    return H5Error("make it longer");
  }
  size[0] = 1;
  const H5Handle in_file(H5Dget_space(dataset));
  const H5Handle in_memory(
      H5Screate_simple(static_cast<int>(extents.size()), size.data(), nullptr));
  if (H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(),
                          nullptr) < 0 ||
      H5Dwrite(dataset, type, in_memory.get(), in_file.get(), H5P_DEFAULT, row.data()) < 0 ||
      H5Dflush(dataset) < 0) {
    return H5Error("write");
  }
  return Status::Ok();
}

}  // namespace

struct H5TraceWriter::File {
  H5Handle file;
  H5Handle counts;
  H5Handle steps;
  std::array<hsize_t, 4> extents;  // of a bin: 1, phases, layers, experts

  Status Create(const fs::path& path, const TraceOrigin& origin);
  void Disconnect();
  Status Close();
};

Status H5TraceWriter::File::Create(const fs::path& path, const TraceOrigin& origin) {
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  file = H5Handle(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, access.get()));
  if (!file.ok()) {
    return H5Error("create it");
  }
  STEELYARD_RETURN_IF_ERROR(WriteOrigin(file.get(), origin));
  STEELYARD_ASSIGN_OR_RETURN(counts, CreateDataset(file.get(), kH5Counts, H5T_STD_U32LE, extents));
  STEELYARD_ASSIGN_OR_RETURN(
      steps, CreateDataset(file.get(), kH5Steps, H5T_STD_U64LE, std::array{kStepsPerChunk}));
  if (H5Fstart_swmr_write(file.get()) < 0) {
    return H5Error("begin to write it");
  }
  return Status::Ok();
}

// Once a write has failed, HDF5 would try the same again whenever it closes something, in an order
// that promises readers nothing. What it still writes goes nowhere from here on.
void H5TraceWriter::File::Disconnect() {
  void* handle = nullptr;
  if (!file.ok() || H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &handle) < 0) {
    return;
  }
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere >= 0) {
    (void)::dup3(nowhere, *static_cast<int*>(handle), O_CLOEXEC);
    ::close(nowhere);
  }
}

Status H5TraceWriter::File::Close() {
  Status status;
  if (file.ok() && H5Fflush(file.get(), H5F_SCOPE_LOCAL) < 0) {
    status = H5Error("close it");
    Disconnect();
  }
  if ((counts.Close() < 0 || steps.Close() < 0 || file.Close() < 0) && status.ok()) {
    status = H5Error("close it");
  }
  return status;
}

H5TraceWriter::H5TraceWriter(fs::path path, std::unique_ptr<File> file)
    : path_(std::move(path)), file_(std::move(file)) {}

H5TraceWriter::~H5TraceWriter() { (void)Close(); }

Result<std::unique_ptr<H5TraceWriter>> H5TraceWriter::Create(const fs::path& path,
                                                             const LoadShape& shape,
                                                             const TraceOrigin& origin) {
  STEELYARD_CHECK(shape.num_phases >= 1 && shape.num_layers >= 1 && shape.num_experts >= 1);
  STEELYARD_CHECK(origin.phase_names.empty() ||
                  origin.phase_names.size() == static_cast<size_t>(shape.num_phases));
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {
    return FailedPrecondition(
        fmt::format("{}: cannot write: it exists and is not a regular file", path.string()));
  }
  const H5Session session;
  auto file = std::make_unique<File>();
  file->extents = {1, static_cast<hsize_t>(shape.num_phases),
                   static_cast<hsize_t>(shape.num_layers), static_cast<hsize_t>(shape.num_experts)};
  const fs::path temporary = TemporaryName(path);
  Status status = file->Create(temporary, origin);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = FailedPrecondition(fmt::format("cannot rename a temporary file to it: {}",
                                            std::generic_category().message(errno)));
  }
  if (!status.ok()) {
    file->Disconnect();
    (void)file->Close();
    ::unlink(temporary.c_str());
    return status.WithContext(path.string());
  }
  return std::unique_ptr<H5TraceWriter>(new H5TraceWriter(path, std::move(file)));
}

Status H5TraceWriter::Append(std::span<const uint32_t> counts, uint64_t steps) {
  STEELYARD_CHECK_GE(steps, 1u);
  if (file_ == nullptr) {
    return FailedPrecondition(
        fmt::format("{}: bin {}: it was closed before", path_.string(), num_bins_));
  }
  const std::array<hsize_t, 4>& extents = file_->extents;
  STEELYARD_CHECK_EQ(counts.size(), extents[1] * extents[2] * extents[3]);
  const H5Session session;
  // A reader takes the shorter of the two, so `steps` grows only once the counts are in the file.
  Status status =
      AppendRow<uint32_t>(file_->counts.get(), H5T_NATIVE_UINT32, num_bins_, extents, counts);
  if (status.ok()) {
    status = AppendRow<uint64_t>(file_->steps.get(), H5T_NATIVE_UINT64, num_bins_,
                                 std::array<hsize_t, 1>{1}, std::span(&steps, 1));
  }
  if (!status.ok()) {
    file_->Disconnect();
    (void)file_->Close();
    file_.reset();
    return status.WithContext(fmt::format("{}: bin {}", path_.string(), num_bins_));
  }
  ++num_bins_;
  return Status::Ok();
}

Status H5TraceWriter::Close() {
  if (file_ == nullptr) {
    return Status::Ok();
  }
  const H5Session session;
  const Status status = file_->Close();
  file_.reset();
  return status.WithContext(path_.string());
}

}  // namespace steelyard
