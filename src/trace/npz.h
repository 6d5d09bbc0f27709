// `.npz`: a zip of named `.npy` arrays.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"
#include "trace/npy.h"

namespace steelyard {

/// Move only. One thread at a time may read.
class NpzFile {
 public:
  /// Reads the directory. Every failure, here and below, names the file.
  static Result<NpzFile> Open(const std::filesystem::path& path);
  NpzFile(NpzFile&& other) noexcept;
  NpzFile& operator=(NpzFile&& other) noexcept;
  ~NpzFile();

  /// Names of the arrays, without ".npy", in the order of the file.
  const std::vector<std::string>& names() const { return names_; }

  /// Fails with kNotFound when no array has the name.
  Result<NpyArray> Read(std::string_view name) const;

 private:
  struct Archive;  // libzip's handle, and the bytes under it
  NpzFile(std::filesystem::path path, std::vector<std::string> names,
          std::unique_ptr<Archive> archive);

  std::filesystem::path path_;
  std::vector<std::string> names_;
  std::unique_ptr<Archive> archive_;
};

/// Writes one array under `name`, of the bytes that FormatNpy() gives, compressed: temporary name,
/// fsync, rename.
Status WriteNpzFile(const std::filesystem::path& path, const std::string& name,
                    const std::string& npy);

}  // namespace steelyard
