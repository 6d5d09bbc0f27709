// `replay --dump DIR`: the placement after each plan, DIR/POLICY/window_0000.json, ..
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "output_files.h"
#include "steelyard/base/status.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

class ReplayDump {
 public:
  /// Writes nothing where `folder` is empty.
  explicit ReplayDump(std::string folder) : folder_(std::move(folder)) {}

  /// Throws UsageError where one of the files has the name of a window of `policies`, or a window
  /// that is there is the same file. Changes nothing.
  void CheckApart(const std::vector<std::string>& policies, const std::vector<FileOption>& inputs,
                  const std::vector<FileOption>& outputs) const;

  /// Makes the folders of `policies`. Windows of an earlier replay stay until they are written
  /// anew. Fails where there are windows from `num_plans` on: they would stay beside this replay's
  /// as if they were its own.
  Status Begin(const std::vector<std::string>& policies, int num_plans) const;

  Status Write(const std::string& policy, int window_idx, const Placement& in_force) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace steelyard
