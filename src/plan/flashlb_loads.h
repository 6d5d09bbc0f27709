// What the `flashlb` policy knows of the experts of one layer: their mean load over a window's bins
// and how it varies around it.
//
// One object per worker; nothing allocates after Prepare().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "steelyard/base/span.h"

namespace steelyard {

class FlashlbLoads {
 public:
  /// The three-quarter quantile of a normal distribution: a load is taken to be its mean plus this
  /// many standard deviations.
  static constexpr double kRisk = 0.674;

  void Prepare(const LayerShape& shape);

  /// Takes the tokens of every expert, `bins` [num_bins, num_experts], each count one higher, so
  /// that nothing is without load.
  void Set(Span2<const double> bins);

  int num_bins() const { return static_cast<int>(loads_.size() / means_.size()); }
  int num_experts() const { return static_cast<int>(means_.size()); }

  /// Sums of squared deviations times this are variances: of a sample, 0 for a single bin.
  double per_degree_of_freedom() const;

  /// By bin, [num_bins].
  std::span<const double> loads(int expert) const { return Row(loads_, expert); }
  std::span<const double> deviations(int expert) const { return Row(deviations_, expert); }
  std::span<const double> means() const { return means_; }  // [num_experts]
  /// Mean plus risk, [num_experts].
  std::span<const double> scores() const { return scores_; }

  /// The mean over the bins of max / mean rank load, copies sharing evenly. `slot_to_expert` is
  /// [num_slots]; every expert has a slot.
  double Imbalance(std::span<const int32_t> slot_to_expert);

 private:
  std::span<const double> Row(const std::vector<double>& table, int expert) const {
    const size_t size = num_bins();
    return {table.data() + expert * size, size};
  }

  LayerShape shape_;
  std::vector<double> loads_;       // [num_experts, num_bins]
  std::vector<double> deviations_;  // [num_experts, num_bins]
  std::vector<double> means_;       // [num_experts]
  std::vector<double> scores_;      // [num_experts]
  std::vector<int32_t> copies_;     // [num_experts]
};

}  // namespace steelyard
