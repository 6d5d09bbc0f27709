#include "plan/flashlb_pack.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace steelyard {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

}  // namespace

void FlashlbPacker::Prepare(const LayerShape& shape) {
  shape_ = shape;
  load_per_copy_.assign(shape.num_experts, 0.0);
  order_.assign(shape.num_experts, 0);
  const size_t num_ranks = shape.num_ranks;
  used_.assign(num_ranks, 0);
  loads_.assign(num_ranks * shape.num_bins, 0.0);
  deviations_.assign(num_ranks * shape.num_bins, 0.0);
  means_.assign(num_ranks, 0.0);
  judged_.assign(num_ranks, 0.0);
}

double FlashlbPacker::Pack(const FlashlbLoads& loads, std::span<const int32_t> copies,
                           std::span<int32_t> slot_to_expert) {
  Clear();
  for (int expert = 0; expert < shape_.num_experts; ++expert) {
    load_per_copy_[expert] = loads.means()[expert] / copies[expert];
  }
  sorter_.SortDescending(load_per_copy_, order_);
  for (const int32_t expert : order_) {
    // A copy changes only the rank that it goes to, and that one is out for the next copy.
    JudgeRanks(loads, expert, copies[expert]);
    for (int copy = 0; copy < copies[expert]; ++copy) {
      int rank = BestRank();
      if (judged_[rank] == kNever) {
        JudgeRanks(loads, expert, copies[expert]);
        rank = BestRank();
      }
      slot_to_expert[rank * shape_.slots_per_rank + used_[rank]] = expert;
      Place(loads, expert, copies[expert], rank);
      judged_[rank] = kNever;
    }
  }
  return ImbalanceOfRanks();
}

void FlashlbPacker::Clear() {
  std::fill(used_.begin(), used_.end(), 0);
  std::fill(loads_.begin(), loads_.end(), 0.0);
  std::fill(deviations_.begin(), deviations_.end(), 0.0);
  std::fill(means_.begin(), means_.end(), 0.0);
}

// The risk of a rank with one more expert is that of its summed load bin by bin, which has the
// covariances of its experts in it. Each bin goes over all ranks, so that ranks are computed side
// by side.
void FlashlbPacker::JudgeRanks(const FlashlbLoads& loads, int expert, int copies) {
  const int num_ranks = shape_.num_ranks;
  const std::span<const double> expert_deviations = loads.deviations(expert);
  double* const judged = judged_.data();
  std::fill_n(judged, num_ranks, 0.0);
  for (int t = 0; t < shape_.num_bins; ++t) {
    const double added = expert_deviations[t] / copies;
    const double* const deviations = deviations_.data() + static_cast<size_t>(t) * num_ranks;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const double deviation = deviations[rank] + added;
      judged[rank] += deviation * deviation;
    }
  }
  const double added = loads.means()[expert] / copies;
  const double per_degree = loads.per_degree_of_freedom();
  const double* const means = means_.data();
  for (int rank = 0; rank < num_ranks; ++rank) {
    judged[rank] = means[rank] + added + FlashlbLoads::kRisk * std::sqrt(judged[rank] * per_degree);
  }
}

int FlashlbPacker::BestRank() const {
  return static_cast<int>(std::min_element(judged_.begin(), judged_.end()) - judged_.begin());
}

void FlashlbPacker::Place(const FlashlbLoads& loads, int expert, int copies, int rank) {
  const size_t num_ranks = shape_.num_ranks;
  for (int t = 0; t < shape_.num_bins; ++t) {
    loads_[t * num_ranks + rank] += loads.loads(expert)[t] / copies;
    deviations_[t * num_ranks + rank] += loads.deviations(expert)[t] / copies;
  }
  means_[rank] += loads.means()[expert] / copies;
  if (++used_[rank] == shape_.slots_per_rank) {
    means_[rank] = kNever;
  }
}

double FlashlbPacker::ImbalanceOfRanks() const {
  const int num_ranks = shape_.num_ranks;
  double sum = 0.0;
  for (int t = 0; t < shape_.num_bins; ++t) {
    const double* const ranks = loads_.data() + static_cast<size_t>(t) * num_ranks;
    double largest = 0.0;
    double total = 0.0;
    for (int rank = 0; rank < num_ranks; ++rank) {
      largest = std::max(largest, ranks[rank]);
      total += ranks[rank];
    }
    sum += largest * num_ranks / total;
  }
  return sum / shape_.num_bins;
}

}  // namespace steelyard
