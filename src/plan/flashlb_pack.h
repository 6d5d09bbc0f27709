// Risk-aware packing: where the copies of experts go when ranks are judged by mean load plus risk.
//
// One object per worker; nothing allocates after Prepare().
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/flashlb_loads.h"
#include "plan/flashlb_order.h"
#include "plan/steelyard_layer_state.h"

namespace steelyard {

class FlashlbPacker {
 public:
  void Prepare(const LayerShape& shape);

  /// Places the experts by mean load per copy, the heaviest first, each copy on the rank that then
  /// has the least mean plus risk, covariances between experts included, among those that have a
  /// free slot and lack the expert (ties to the lowest rank). Where none is left that lacks it, the
  /// copy becomes a duplicate. Writes `slot_to_expert` [num_slots] and returns its Imbalance().
  /// `copies` [num_experts] sum to num_slots, each at least 1.
  double Pack(const FlashlbLoads& loads, std::span<const int32_t> copies,
              std::span<int32_t> slot_to_expert);

 private:
  void Clear();
  void JudgeRanks(const FlashlbLoads& loads, int expert, int copies);
  int BestRank() const;
  void Place(const FlashlbLoads& loads, int expert, int copies, int rank);
  double ImbalanceOfRanks() const;

  LayerShape shape_;
  FlashlbOrder sorter_;
  std::vector<double> load_per_copy_;  // [num_experts]
  std::vector<int32_t> order_;         // [num_experts]
  std::vector<int32_t> used_;          // [num_ranks] slots taken
  std::vector<double> loads_;          // [num_bins, num_ranks]
  std::vector<double> deviations_;     // [num_bins, num_ranks]
  std::vector<double> means_;          // [num_ranks] infinite once a rank is full
  std::vector<double> judged_;         // [num_ranks] mean plus risk if the expert at hand came
};

}  // namespace steelyard
