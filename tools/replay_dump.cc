#include "replay_dump.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <system_error>

#include "number_text.h"
#include "steelyard/placement/placement_file.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBegin = "window_";
constexpr std::string_view kEnd = ".json";

std::string NameOf(int window_idx) { return fmt::format("{}{:04d}{}", kBegin, window_idx, kEnd); }

// The window of a file that a replay wrote; none for any other name.
std::optional<int> WindowOf(const std::string& name) {
  int window_idx = 0;
  const bool is_named =
      name.size() > kBegin.size() + kEnd.size() && name.starts_with(kBegin) && name.ends_with(kEnd);
  if (!is_named ||
      !ParseNumber(
          std::string_view(name).substr(kBegin.size(), name.size() - kBegin.size() - kEnd.size()),
          &window_idx) ||
      name != NameOf(window_idx)) {
    return std::nullopt;
  }
  return window_idx;
}

}  // namespace

void ReplayDump::CheckApart(const std::vector<std::string>& policies,
                            const std::vector<FileOption>& inputs,
                            const std::vector<FileOption>& outputs) const {
  if (folder_.empty()) {
    return;
  }
  const auto check = [&](const fs::path& window) {
    steelyard::CheckApart({"--dump", window}, inputs, "reads");
    steelyard::CheckApart({"--dump", window}, outputs, "writes");
  };
  for (const std::string& policy : policies) {
    const fs::path folder = folder_ / policy;
    // Those that are there may have other names too; those that are not have only theirs.
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      if (WindowOf(at->path().filename().string()).has_value()) check(at->path());
    }
    for (const std::vector<FileOption>* files : {&inputs, &outputs}) {
      for (const FileOption& file : *files) {
        const fs::path name = fs::path(file.path).filename();
        if (WindowOf(name.string()).has_value()) check(folder / name);
      }
    }
  }
}

Status ReplayDump::Begin(const std::vector<std::string>& policies, int num_plans) const {
  if (folder_.empty()) {
    return Status::Ok();
  }
  std::error_code error;
  for (const std::string& policy : policies) {
    const fs::path folder = folder_ / policy;
    fs::create_directories(folder, error);
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::optional<int> window_idx = WindowOf(at->path().filename().string());
      if (window_idx.has_value() && *window_idx >= num_plans) {
        return FailedPrecondition(fmt::format(
            "--dump {}: {} is of another replay, longer than this one of {} plan{}: remove it, or "
            "name another folder",
            folder_.string(), at->path().string(), num_plans, num_plans == 1 ? "" : "s"));
      }
    }
    if (error) {
      return InvalidArgument(fmt::format("--dump {}: {}", folder_.string(), error.message()));
    }
  }
  return Status::Ok();
}

Status ReplayDump::Write(const std::string& policy, int window_idx,
                         const Placement& in_force) const {
  return folder_.empty() ? Status::Ok()
                         : WritePlacementFile(folder_ / policy / NameOf(window_idx), in_force);
}

}  // namespace steelyard
