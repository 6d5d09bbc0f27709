// The experts of one rank at work: rows that came from all ranks, grouped by slot, go through the
// slot's expert, and results go to the place where their sender expects them.
//
// Used by the rank's own thread; allocates only when it is made.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/compute/gemm.h"
#include "engine/models/aligned_array.h"
#include "engine/models/dispatch.h"
#include "engine/models/expert_buffers.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/status.h"

namespace steelyard {

class GroupedExperts {
 public:
  /// `buffers` and `kernel` must outlive it; `kernel` must have the expert's shapes prepared for
  /// kMaxRows rows.
  GroupedExperts(const MoeShape& shape, int rank, ExpertBuffers& buffers, GemmKernel& kernel);

  /// More rows go through an expert in pieces.
  static constexpr int kMaxRows = 256;

  /// Takes in the items of the blocks [num_ranks]; `results` gets one row per item, block by block.
  /// Records how many tokens each slot received, and pumps the balancer after every expert. Fails
  /// with kInternal when an item names an expert that its slot does not hold by the tables in
  /// force, or the slot's buffer holds another expert's weights (I3).
  Status Run(int layer, std::span<const BlockView> blocks, Balancer& balancer, float* results);

 private:
  struct Visit {
    const float* in;
    float* out;
  };

  Status CheckItems(int layer, std::span<const BlockView> blocks, const LayerTables& tables) const;
  Status CheckBundle(int layer, int expert, int buffer) const;
  void GroupBySlot(std::span<const BlockView> blocks, float* results);
  void RunExpert(int buffer, std::span<const Visit> visits);

  const MoeShape shape_;
  const int rank_;
  ExpertBuffers* const buffers_;
  GemmKernel* const kernel_;
  std::array<std::vector<uint32_t>, kNumPhases> counts_;  // each [slots_per_rank]
  std::vector<size_t> first_;                             // [slots_per_rank + 1] into visits_
  std::vector<Visit> visits_;                             // [num_ranks * max_rows * top_k]
  AlignedArray<float> in_;                                // [kMaxRows, hidden]
  AlignedArray<float> gate_up_;                           // [kMaxRows, 2 * intermediate]
  AlignedArray<float> active_;                            // [kMaxRows, intermediate]
  AlignedArray<float> out_;                               // [kMaxRows, hidden]
};

}  // namespace steelyard
