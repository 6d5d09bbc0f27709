// Placement files of any format, as `convert` and `inspect` are told to read them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "steelyard/base/status.h"
#include "steelyard/placement/placement_formats.h"

namespace steelyard {

/// Refuses what is no format of placements.
CLI::Validator PlacementFormatText();

/// What was not given is 0 or empty.
struct PlacementFileOptions {
  static constexpr const char* kNames =
      "--from, --experts, --num-layers, --first-layer, --moe-layers";

  std::string from;
  int experts = 0;
  int num_layers = 0;
  int first_layer = 0;
  std::string moe_layers;

  /// Those of kNames.
  void AddTo(CLI::App* command);
  bool any_given() const;

  /// --from, or what the file looks like. Fails where it is not there, or looks like none of the
  /// formats.
  Result<PlacementFormat> FormatOf(const std::string& path) const;

  /// Reads `path`; `ranks` and `nodes` are 0 where they were not given. Throws UsageError where an
  /// option is missing or the format has no use for it.
  Result<ForeignPlacement> Read(const std::string& path, PlacementFormat format, int ranks,
                                int nodes) const;
};

}  // namespace steelyard
