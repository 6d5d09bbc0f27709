// What a file of recorded loads says: the loads, and where they came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "steelyard/load/load_window.h"

namespace steelyard {

/// Where loads were recorded. What a file does not say is empty or 0.
struct TraceOrigin {
  std::vector<std::string> phase_names;  // [num_phases], or empty
  std::string model;
  int num_ranks = 0;
  int slots_per_rank = 0;
  int num_nodes = 0;
  int top_k = 0;

  friend bool operator==(const TraceOrigin&, const TraceOrigin&) = default;
};

struct LoadTrace {
  LoadWindow loads;
  std::vector<uint64_t> steps;  // [num_bins] how many steps each bin covers, or empty
  TraceOrigin origin;
};

}  // namespace steelyard
