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

Status ReplayDump::Begin(const std::vector<std::string>& policies, int num_plans) const {
  if (folder_.empty()) {
    return Status::Ok();
  }
  std::error_code error;
  std::vector<fs::path> earlier;
  for (const std::string& policy : policies) {
    const fs::path folder = folder_ / policy;
    fs::create_directories(folder, error);
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::optional<int> window_idx = WindowOf(at->path().filename().string());
      if (!window_idx.has_value()) {
        continue;
      }
      if (*window_idx >= num_plans) {
        return FailedPrecondition(fmt::format(
            "--dump {}: {} is of another replay, longer than this one of {} plan{}: remove it, or "
            "name another folder",
            folder_.string(), at->path().string(), num_plans, num_plans == 1 ? "" : "s"));
      }
      earlier.push_back(at->path());
    }
    if (error) {
      return InvalidArgument(fmt::format("--dump {}: {}", folder_.string(), error.message()));
    }
  }
  for (const fs::path& path : earlier) {
    if (fs::is_regular_file(path, error)) {
      fs::remove(path, error);
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
