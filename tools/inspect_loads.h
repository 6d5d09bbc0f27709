// `inspect` for files of loads, and how level loads are under a placement.
#pragma once

#include <string>
#include <vector>

#include "command.h"
#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct LoadLevel {
  std::vector<double> by_layer;    // [num_layers, num_ranks] over the mean rank of the layer
  std::vector<double> rank_loads;  // [num_ranks] summed over layers, each layer counting alike
  double imbalance = 0.0;          // mean over layers, as is the bound
  double lower_bound = 0.0;
};

/// Requires: layers and experts of one number in both.
LoadLevel MeasureLevel(const Placement& placement, const LoadWindow& window);

/// Ranks and layers as a heat map that suits standard output.
std::string RankHeatMap(const LoadLevel& level);

/// Prints what `file` holds and how skewed it is, with heat maps, or as one JSON object; with
/// ranks in `topology` also how level the contiguous placement is.
Status InspectLoads(const std::string& file, const TopologyOptions& topology, bool json);

}  // namespace steelyard
