#include "output_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/file.h"
#include "command.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

// Whether a file can be written at `path`: it is made under a temporary name first, as one is here.
Status TryToWrite(const fs::path& path) {
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, error)) {
    return NotFound(fmt::format("{} is not a folder", folder.string()));
  }
  const fs::file_status there = fs::status(path, error);
  if (fs::exists(there) && !fs::is_regular_file(there)) {
    return InvalidArgument(fs::is_directory(there) ? "is a folder" : "is not a regular file");
  }
  if (path.filename().string().size() > NAME_MAX) {
    return InvalidArgument(fmt::format("the name is longer than {} bytes", NAME_MAX));
  }
  const fs::path probe = TemporaryName(path);
  if (!std::ofstream(probe).is_open()) {
    return FailedPrecondition(fmt::format("cannot be written: {}", std::strerror(errno)));
  }
  fs::remove(probe, error);
  return Status::Ok();
}

// The same for files in `folder`, which may yet have to be made. No folder is left behind.
Status TryToFill(fs::path folder) {
  folder = (folder / "").parent_path();
  std::vector<fs::path> missing;  // the deepest first
  std::error_code error;
  for (fs::path at = folder; !at.empty() && !fs::exists(at, error); at = at.parent_path()) {
    missing.push_back(at);
  }
  fs::create_directories(folder, error);
  Status status = error ? FailedPrecondition(fmt::format("cannot be made: {}", error.message()))
                        : TryToWrite(folder / "file");
  for (const fs::path& made : missing) {
    fs::remove(made, error);
  }
  return status;
}

}  // namespace

// By device and number where both are there, else by name.
bool IsSameFile(const fs::path& a, const fs::path& b) {
  std::error_code error;
  const bool same = fs::equivalent(a, b, error);
  if (!error) {
    return same;
  }
  const fs::path whole_a = fs::weakly_canonical(fs::absolute(a, error), error);
  const fs::path whole_b = fs::weakly_canonical(fs::absolute(b, error), error);
  return !whole_a.empty() && whole_a == whole_b;
}

void CheckApart(const FileOption& output, const std::vector<FileOption>& others,
                std::string_view does) {
  for (const FileOption& other : others) {
    if (!other.path.empty() && IsSameFile(output.path, other.path)) {
      throw UsageError{fmt::format("{} {}: would overwrite what {} {}", output.option, output.path,
                                   other.option, does)};
    }
  }
}

Status CheckOutputs(const std::vector<FileOption>& inputs, const std::vector<FileOption>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const FileOption& output = outputs[i];
    if (output.path.empty()) {
      continue;
    }
    CheckApart(output, inputs, "reads");
    CheckApart(output, {outputs.begin(), outputs.begin() + static_cast<std::ptrdiff_t>(i)},
               "writes");
    STEELYARD_RETURN_IF_ERROR(
        TryToWrite(output.path).WithContext(fmt::format("{} {}", output.option, output.path)));
  }
  return Status::Ok();
}

Status CheckOutputFolder(const FileOption& folder) {
  return TryToFill(folder.path).WithContext(fmt::format("{} {}", folder.option, folder.path));
}

}  // namespace steelyard
