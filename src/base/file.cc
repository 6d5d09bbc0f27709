#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <system_error>
#include <utility>

namespace steelyard {
namespace {

namespace fs = std::filesystem;

// Uses the errno of the call that has just failed.
Status SystemError(const fs::path& path, std::string_view what) {
  const int error = errno;
  const StatusCode code =
      error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kFailedPrecondition;
  return Status(code, fmt::format("{}: cannot {}: {}", path.string(), what,
                                  std::generic_category().message(error)));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Status WriteAll(const fs::path& path, int fd, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = ::write(fd, contents.data(), contents.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return SystemError(path, "write");
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return Status::Ok();
}

Status WriteSynced(const fs::path& path, const fs::path& temporary, std::string_view contents) {
  FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file.ok()) {
    return SystemError(path, "write");
  }
  STEELYARD_RETURN_IF_ERROR(WriteAll(path, file.get(), contents));
  if (::fsync(file.get()) != 0) {
    return SystemError(path, "fsync");
  }
  // close() can be the call that reports a full disk.
  if (::close(file.Release()) != 0) {
    return SystemError(path, "close");
  }
  return Status::Ok();
}

// Makes the new name itself survive a power cut. Some file systems do not allow this, and then
// there is nothing to do.
void SyncFolderOf(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  FileDescriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.ok()) {
    (void)::fsync(file.get());
  }
}

}  // namespace

Result<std::string> ReadFile(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) {
    return SystemError(path, "open");
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) {
    return SystemError(path, "read");
  }
  // The size is only a first guess: pipes and files of /proc say 0. One byte more lets the end be
  // seen without growing.
  constexpr size_t kSmallestBuffer = 4096;
  std::string contents(std::max(static_cast<size_t>(info.st_size) + 1, kSmallestBuffer), '\0');
  size_t size = 0;
  for (;;) {
    if (size == contents.size()) {
      contents.resize(2 * contents.size());
    }
    const ssize_t got = ::read(file.get(), contents.data() + size, contents.size() - size);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return SystemError(path, "read");
    }
    if (got == 0) {
      break;
    }
    size += static_cast<size_t>(got);
  }
  contents.resize(size);
  return contents;
}

fs::path TemporaryName(const fs::path& path) {
  static std::atomic<uint64_t> counter{0};
  const std::string end = fmt::format(".tmp.{}.{}", ::getpid(), counter.fetch_add(1));
  // A name may be as long as names can be, and leave no room behind it.
  return path.parent_path() / (path.filename().string().substr(0, NAME_MAX - end.size()) + end);
}

Status WriteFileAtomically(const fs::path& path, std::string_view contents) {
  // A rename over a device, a pipe or a folder would destroy it or fail late.
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  if (fs::exists(target) && !fs::is_regular_file(target)) {
    return FailedPrecondition(
        fmt::format("{}: cannot write: it exists and is not a regular file", path.string()));
  }
  const fs::path temporary = TemporaryName(path);
  Status status = WriteSynced(path, temporary, contents);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = SystemError(path, "rename a temporary file to it");
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  SyncFolderOf(path);
  return Status::Ok();
}

Result<MappedFile> MappedFile::Open(const fs::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) {
    return SystemError(path, "open");
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) {
    return SystemError(path, "map");
  }
  if (!S_ISREG(info.st_mode)) {
    return FailedPrecondition(
        fmt::format("{}: cannot map: it is not a regular file", path.string()));
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) {  // mmap() refuses a length of 0
    return MappedFile(path, nullptr, 0);
  }
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) {
    return SystemError(path, "map");
  }
  return MappedFile(path, static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    // munmap() takes the pointer that mmap() gave, which was not const.
    ::munmap(const_cast<std::byte*>(data_),
             size_);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  }
}

}  // namespace steelyard
