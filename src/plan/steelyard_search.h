// The bottleneck search of the `steelyard` policy: cools the hottest rank of one layer, step by
// step, on the loads summed over bins.
#pragma once

#include <vector>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

struct SearchOptions {
  double price = 0.0;        // of one move, in units of load
  double lower_bound = 0.0;  // no placement has a smaller maximum; in units of load
  int max_steps = 0;
};

/// From the hottest rank, takes the best *swap*, *added copy* or *shed copy* until none cools it,
/// and leaves `state` at the point of that path where maximum rank load + price x moves was least
/// (the start, where nothing was better). `path` is workspace: capacity for max_steps + num_slots
/// steps keeps this from allocating.
void SearchBottleneck(const SearchOptions& options, LayerState& state, std::vector<Step>& path);

}  // namespace steelyard
