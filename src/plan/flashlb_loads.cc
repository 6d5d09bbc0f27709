#include "plan/flashlb_loads.h"

#include <algorithm>
#include <cmath>

namespace steelyard {

void FlashlbLoads::Prepare(const LayerShape& shape) {
  shape_ = shape;
  const size_t num_experts = shape.num_experts;
  loads_.assign(num_experts * shape.num_bins, 0.0);
  deviations_.assign(num_experts * shape.num_bins, 0.0);
  means_.assign(num_experts, 0.0);
  scores_.assign(num_experts, 0.0);
  copies_.assign(num_experts, 0);
}

double FlashlbLoads::per_degree_of_freedom() const {
  return shape_.num_bins > 1 ? 1.0 / (shape_.num_bins - 1) : 0.0;
}

void FlashlbLoads::Set(Span2<const double> bins) {
  const int num_bins = shape_.num_bins;
  for (int expert = 0; expert < shape_.num_experts; ++expert) {
    double* const loads = loads_.data() + static_cast<size_t>(expert) * num_bins;
    double* const deviations = deviations_.data() + static_cast<size_t>(expert) * num_bins;
    double sum = 0.0;
    for (int t = 0; t < num_bins; ++t) {
      loads[t] = bins(t, expert) + 1.0;
      sum += loads[t];
    }
    const double mean = sum / num_bins;
    double squares = 0.0;
    for (int t = 0; t < num_bins; ++t) {
      deviations[t] = loads[t] - mean;
      squares += deviations[t] * deviations[t];
    }
    means_[expert] = mean;
    scores_[expert] = mean + kRisk * std::sqrt(squares * per_degree_of_freedom());
  }
}

double FlashlbLoads::Imbalance(std::span<const int32_t> slot_to_expert) {
  std::fill(copies_.begin(), copies_.end(), 0);
  for (const int32_t expert : slot_to_expert) ++copies_[expert];
  const int slots_per_rank = shape_.slots_per_rank;
  double sum = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    double largest = 0.0;
    double total = 0.0;
    for (int rank = 0; rank < shape_.num_ranks; ++rank) {
      double load = 0.0;
      for (const int32_t expert : slot_to_expert.subspan(rank * slots_per_rank, slots_per_rank)) {
        load += loads(expert)[t] / copies_[expert];
      }
      largest = std::max(largest, load);
      total += load;
    }
    sum += largest * shape_.num_ranks / total;
  }
  return sum / shape_.num_bins;
}

}  // namespace steelyard
