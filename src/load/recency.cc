#include "load/recency.h"

#include <cmath>

#include "steelyard/base/check.h"

namespace steelyard {

std::vector<double> RecencyWeights(int num_bins, double gamma) {
  STEELYARD_CHECK_GE(num_bins, 0);
  STEELYARD_CHECK(std::isfinite(gamma) && gamma >= 0);
  std::vector<double> weights(num_bins);
  double weight = 1;
  for (int bin_idx = num_bins - 1; bin_idx >= 0; --bin_idx) {
    weights[bin_idx] = weight;
    weight *= gamma;
  }
  return weights;
}

}  // namespace steelyard
