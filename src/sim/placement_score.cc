#include "sim/placement_score.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "plan/plan_builder.h"
#include "steelyard/base/check.h"

namespace steelyard {

double PlacementScorer::Score(const Placement& placement, const LoadWindow& window,
                              std::vector<double>& values) {
  const LoadShape& shape = window.shape();
  STEELYARD_CHECK_EQ(placement.num_layers(), shape.num_layers);
  STEELYARD_CHECK_EQ(placement.num_experts(), shape.num_experts);
  bins_.resize(static_cast<size_t>(shape.num_bins) * shape.num_experts);
  const Span2<double> bins(bins_, shape.num_bins, shape.num_experts);
  double sum = 0.0;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    ReadLayerBins(window, layer, bins);
    for (int bin = 0; bin < shape.num_bins; ++bin) {
      const Span2<const double> one(bins.row(bin).data(), 1, shape.num_experts);
      values.push_back(Imbalance(one, placement.slot_to_expert(layer), placement.shares(layer),
                                 placement.topology(), {}, workspace_));
      sum += values.back();
    }
  }
  return sum / (static_cast<double>(shape.num_layers) * shape.num_bins);
}

int64_t BusiestRankMoves(const Placement& from, const Placement& to) {
  const Topology& topology = to.topology();
  STEELYARD_CHECK_EQ(from.num_slots(), to.num_slots());
  std::vector<int64_t> received(topology.num_ranks(), 0);
  std::vector<int32_t> held(to.num_experts());  // mark of the last (layer, rank) that holds it
  int32_t mark = 0;
  for (int layer = 0; layer < to.num_layers(); ++layer) {
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const int first = topology.first_slot_of_rank(rank);
      ++mark;
      for (const int32_t expert :
           from.slot_to_expert(layer).subspan(first, topology.slots_per_rank())) {
        if (expert != kNoExpert) held[expert] = mark;
      }
      for (const int32_t expert :
           to.slot_to_expert(layer).subspan(first, topology.slots_per_rank())) {
        if (expert == kNoExpert || held[expert] == mark) continue;
        held[expert] = mark;  // a duplicate arrives once
        ++received[rank];
      }
    }
  }
  return *std::max_element(received.begin(), received.end());
}

double Quantile(std::vector<double> values, double fraction) {
  STEELYARD_CHECK_GE(values.size(), size_t{1});
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (values[above] - values[below]) * (place - static_cast<double>(below));
}

}  // namespace steelyard
