// A folder for the files of one process, for readers that take only a path.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace steelyard {

/// Made under the system's temporary folder, and removed with all that is in it.
class ScratchFolder {
 public:
  ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder();

  std::filesystem::path PathOf(std::string_view name) const { return path_ / name; }

  /// Writes the file, over one of that name, and returns its path.
  std::filesystem::path Write(std::string_view name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

}  // namespace steelyard
