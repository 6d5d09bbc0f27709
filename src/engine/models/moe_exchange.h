// One MoE layer over all ranks: dispatch, experts, combine. The same for every family; a family
// brings its router.
//
// Used by the rank's own thread; allocates only when it is made.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/compute/gemm.h"
#include "engine/models/aligned_array.h"
#include "engine/models/dispatch.h"
#include "engine/models/expert_buffers.h"
#include "engine/models/grouped_experts.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"

namespace steelyard {

class MoeExchange {
 public:
  /// All must outlive it. `kernel` must have the expert's shapes prepared (GroupedExperts).
  MoeExchange(const MoeShape& shape, Communicator& comm, ExpertBuffers& buffers, GemmKernel& kernel,
              Duration timeout);

  /// Tells the other ranks, with the dispatches of the step that begins, whether this one may have
  /// tokens for another; forgets what they said in the last step.
  void BeginStep(bool more_work);

  /// Sends rows to their experts and writes out [num_rows, hidden], the weighted sums of what they
  /// make of them. Collective: every rank calls it for the same layers in the same order, without
  /// rows too. Fails when a peer is lost or its block does not fit the tables in force here (I3,
  /// I4).
  Status Run(const RoutedRows& rows, Balancer& balancer, float* out);

  /// True when some rank, this one included, may have tokens for another step. Known after the
  /// step's first Run().
  bool more_work() const { return more_work_; }

 private:
  Status Dispatch(const RoutedRows& rows, const Balancer& balancer);
  Status Return(const RoutedRows& rows, const Balancer& balancer);

  const MoeShape shape_;
  Communicator* const comm_;
  const Duration timeout_;
  DispatchPacker packer_;
  GroupedExperts experts_;
  bool own_more_work_ = false;
  bool more_work_ = false;
  std::vector<BlockView> blocks_;      // [num_ranks] received
  std::vector<size_t> received_size_;  // [num_ranks]
  std::vector<size_t> result_size_;    // [num_ranks] of what goes back to each
  std::vector<size_t> returned_size_;  // [num_ranks]
  AlignedArray<std::byte> received_;
  AlignedArray<float> results_;  // a row per item received
  AlignedArray<std::byte> returned_;
};

}  // namespace steelyard
