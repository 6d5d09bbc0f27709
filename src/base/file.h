// Files as the rest of the project uses them: read whole, mapped read-only, or written so that no
// reader sees half of one.
//
// Every failure names the path and what the system said.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "steelyard/base/status.h"

namespace steelyard {

Result<std::string> ReadFile(const std::filesystem::path& path);

/// A name beside `path` for what is renamed over it later. No two calls give one name, in this
/// process or another.
std::filesystem::path TemporaryName(const std::filesystem::path& path);

/// Writes to a temporary name in the same folder, fsyncs it, renames it over `path`. On failure
/// nothing is left behind.
Status WriteFileAtomically(const std::filesystem::path& path, std::string_view contents);

/// The bytes of a file, mapped read-only for as long as the object lives. Move only.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace steelyard
