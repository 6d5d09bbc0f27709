// How much each bin of a window says about the next one: the newest most.
#pragma once

#include <vector>

namespace steelyard {

/// Weights of `num_bins` bins, oldest first: the last is 1, each older one `gamma` times its
/// successor. Multiplied up one by one, so that every machine has the same bits.
/// Requires: num_bins >= 0, gamma finite and >= 0.
std::vector<double> RecencyWeights(int num_bins, double gamma);

}  // namespace steelyard
