#include "trace/npz.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <utility>

#include "base/file.h"

namespace steelyard {
namespace {

constexpr std::string_view kSuffix = ".npy";
// What is read is bounded by what is there, never by what the directory claims.
constexpr size_t kChunkBytes = size_t{1} << 16;

struct CloseArchive {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseEntry {
  void operator()(zip_file_t* entry) const { (void)zip_fclose(entry); }
};
using ArchivePtr = std::unique_ptr<zip_t, CloseArchive>;
using EntryPtr = std::unique_ptr<zip_file_t, CloseEntry>;

bool IsControl(char c) { return (0 <= c && c < ' ') || c == '\x7f'; }

Result<ArchivePtr> OpenArchive(std::string_view bytes) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* archive = source != nullptr ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  if (archive == nullptr) {
    zip_source_free(source);
    const Status status = InvalidArgument(fmt::format("not a zip: {}", zip_error_strerror(&error)));
    zip_error_fini(&error);
    return status;
  }
  zip_error_fini(&error);
  return ArchivePtr(archive);
}

Result<std::vector<std::string>> ListArrays(zip_t* archive) {
  std::vector<std::string> names;
  const zip_int64_t num_entries = zip_get_num_entries(archive, 0);
  for (zip_int64_t i = 0; i < num_entries; ++i) {
    const char* raw = zip_get_name(archive, static_cast<zip_uint64_t>(i), 0);
    std::string name = raw != nullptr ? raw : "";
    if (name.size() <= kSuffix.size() || !name.ends_with(kSuffix)) {
      return InvalidArgument(fmt::format("entry {} is not named as an array (NAME.npy)", i));
    }
    if (std::any_of(name.begin(), name.end(), IsControl)) {
      return InvalidArgument(fmt::format("entry {} has a control character in its name", i));
    }
    name.resize(name.size() - kSuffix.size());
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return InvalidArgument(fmt::format("entry {} has the name of an earlier one", i));
    }
    names.push_back(std::move(name));
  }
  return names;
}

Result<std::vector<std::byte>> ReadEntry(zip_t* archive, size_t index) {
  const EntryPtr entry(zip_fopen_index(archive, index, 0));
  if (entry == nullptr) {
    return InvalidArgument(zip_strerror(archive));
  }
  std::vector<std::byte> bytes;
  for (;;) {
    const size_t size = bytes.size();
    bytes.resize(size + kChunkBytes);
    const zip_int64_t got = zip_fread(entry.get(), bytes.data() + size, kChunkBytes);
    if (got < 0) {
      return InvalidArgument(zip_error_strerror(zip_file_get_error(entry.get())));
    }
    bytes.resize(size + static_cast<size_t>(got));
    if (got == 0) {
      return bytes;
    }
  }
}

Result<NpyArray> ReadArray(zip_t* archive, size_t index) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadEntry(archive, index));
  return ParseNpy(bytes);
}

struct FreeSource {
  void operator()(zip_source_t* source) const { zip_source_free(source); }
};
using SourcePtr = std::unique_ptr<zip_source_t, FreeSource>;

Result<std::string> ReadSource(zip_source_t* source) {
  zip_stat_t info;
  if (zip_source_stat(source, &info) != 0 || zip_source_open(source) != 0) {
    return Internal(zip_error_strerror(zip_source_error(source)));
  }
  std::string bytes(info.size, '\0');
  const zip_int64_t got = zip_source_read(source, bytes.data(), bytes.size());
  zip_source_close(source);
  if (got != static_cast<zip_int64_t>(bytes.size())) {
    return Internal("the zip made in memory is cut short");
  }
  return bytes;
}

// The bytes of a zip with one entry.
Result<std::string> MakeZip(const std::string& name, const std::string& contents) {
  const SourcePtr whole(zip_source_buffer_create(nullptr, 0, 0, nullptr));
  // The archive gives up its own reference when it is closed; ours is read then.
  zip_source_keep(whole.get());
  ArchivePtr archive(zip_open_from_source(whole.get(), ZIP_TRUNCATE, nullptr));
  if (archive == nullptr) {
    zip_source_free(whole.get());
    return Internal("libzip cannot make a zip in memory");
  }
  zip_source_t* entry = zip_source_buffer(archive.get(), contents.data(), contents.size(), 0);
  if (entry == nullptr || zip_file_add(archive.get(), name.c_str(), entry, ZIP_FL_ENC_UTF_8) < 0) {
    zip_source_free(entry);
    return Internal(zip_strerror(archive.get()));
  }
  if (zip_close(archive.get()) != 0) {
    return Internal(zip_strerror(archive.get()));
  }
  (void)archive.release();
  return ReadSource(whole.get());
}

}  // namespace

struct NpzFile::Archive {
  std::string file;  // libzip reads from here, so it stays where it is
  ArchivePtr zip;
};

NpzFile::NpzFile(std::filesystem::path path, std::vector<std::string> names,
                 std::unique_ptr<Archive> archive)
    : path_(std::move(path)), names_(std::move(names)), archive_(std::move(archive)) {}
NpzFile::NpzFile(NpzFile&& other) noexcept = default;
NpzFile& NpzFile::operator=(NpzFile&& other) noexcept = default;
NpzFile::~NpzFile() = default;

Result<NpzFile> NpzFile::Open(const std::filesystem::path& path) {
  auto archive = std::make_unique<Archive>();
  STEELYARD_ASSIGN_OR_RETURN(archive->file, ReadFile(path));
  Result<ArchivePtr> zip = OpenArchive(archive->file);
  if (!zip.ok()) {
    return zip.status().WithContext(path.string());
  }
  archive->zip = std::move(*zip);
  Result<std::vector<std::string>> names = ListArrays(archive->zip.get());
  if (!names.ok()) {
    return names.status().WithContext(path.string());
  }
  return NpzFile(path, std::move(*names), std::move(archive));
}

Result<NpyArray> NpzFile::Read(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) {
    return NotFound(fmt::format("{}: no array is named \"{}\"", path_.string(), name));
  }
  Result<NpyArray> array =
      ReadArray(archive_->zip.get(), static_cast<size_t>(found - names_.begin()));
  if (!array.ok()) {
    return array.status().WithContext(fmt::format("{}: array \"{}\"", path_.string(), name));
  }
  return array;
}

Status WriteNpzFile(const std::filesystem::path& path, const std::string& name,
                    const std::string& npy) {
  Result<std::string> zip = MakeZip(name + std::string(kSuffix), npy);
  if (!zip.ok()) {
    return zip.status().WithContext(path.string());
  }
  return WriteFileAtomically(path, *zip);
}

}  // namespace steelyard
