// What options that name files are checked for before any work is done.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"

namespace steelyard {

/// A file as an option names it; nothing where the path is empty.
struct FileOption {
  std::string option;
  std::string path;
};

/// Whether both name one file, be it under several names or yet to be made.
bool IsSameFile(const std::filesystem::path& a, const std::filesystem::path& b);

/// Throws UsageError where `output` is one of `others`, of which `does` says what becomes of them:
/// "reads" or "writes".
void CheckApart(const FileOption& output, const std::vector<FileOption>& others,
                std::string_view does);

/// Finds out before the work, not after it, that an output cannot be written: its folder is not
/// there, or takes no file of this name, or it is a folder itself.
/// Throws UsageError where an output is an input, or another output, under whatever name.
Status CheckOutputs(const std::vector<FileOption>& inputs, const std::vector<FileOption>& outputs);

/// The same for a folder that files are written to, which may yet have to be made. It is not left
/// behind.
Status CheckOutputFolder(const FileOption& folder);

}  // namespace steelyard
