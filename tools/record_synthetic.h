// `record --synthetic`: a trace that is made up instead of served.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "sim/synthetic.h"
#include "steelyard/base/status.h"

namespace steelyard {

struct SyntheticOptions {
  std::string drift;  // empty: nothing is made up
  SyntheticSpec spec;

  /// --synthetic, --layers, --experts, --bins, --tokens, --sigma, --period, --seed.
  void AddTo(CLI::App* command);
  bool given() const { return !drift.empty(); }

  /// Makes the trace and writes it. Throws UsageError where it would have too many counts.
  Status WriteTo(const std::string& path) const;
};

}  // namespace steelyard
