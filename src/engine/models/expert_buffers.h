// The expert weights of one rank: a single pool of equal buffers for the slots of all MoE layers,
// and a few spare ones, allocated and touched when it is made.
//
// A bundle is BundleHeader, gate_up [2 * intermediate, hidden], down [hidden, intermediate], both
// packed for the kernel and 64-byte aligned. Used by the rank's own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/compute/gemm.h"
#include "engine/models/aligned_array.h"
#include "steelyard/base/status.h"
#include "steelyard/migrate/expert_store.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct ExpertShape {
  int hidden = 0;
  int intermediate = 0;

  WeightShape gate_up() const { return {2 * intermediate, hidden}; }
  WeightShape down() const { return {hidden, intermediate}; }
};

/// Reads one expert: `gate_up` [2 * intermediate, hidden] and `down` [hidden, intermediate].
using ExpertSource =
    std::function<Status(int layer, int expert, std::span<float> gate_up, std::span<float> down)>;

class ExpertBuffers final : public ExpertStore {
 public:
  /// Room for the slots of a rank in every layer of `placement`, and `num_spare` buffers. `kernel`
  /// must outlive it.
  ExpertBuffers(const ExpertShape& shape, const GemmKernel& kernel, const Placement& placement,
                int num_spare);

  /// Fills buffer layer * slots_per_rank + slot with the expert that `placement` gives to that slot
  /// of `rank`.
  Status Load(const Placement& placement, int rank, const ExpertSource& source);

  const ExpertShape& shape() const { return shape_; }
  const BundleHeader& header(int buffer) const;
  const std::byte* gate_up(int buffer) const { return at(buffer) + sizeof(BundleHeader); }
  const std::byte* down(int buffer) const { return gate_up(buffer) + gate_up_bytes_; }

  int num_layers() const override { return num_layers_; }
  int num_pools() const override { return 1; }
  int pool_of_layer(int /*layer*/) const override { return 0; }
  int num_buffers(int /*pool*/) const override { return num_buffers_; }
  std::span<std::byte> bundle(int pool, int buffer) override;
  uint64_t layout_id(int /*layer*/) const override { return layout_id_; }

 private:
  const std::byte* at(int buffer) const { return memory_.data() + bundle_bytes_ * buffer; }

  const ExpertShape shape_;
  const GemmKernel* const kernel_;
  const int num_layers_;
  const int slots_per_rank_;
  const int num_buffers_;
  const size_t gate_up_bytes_;
  const size_t down_bytes_;
  const size_t bundle_bytes_;
  const uint64_t layout_id_;
  AlignedArray<std::byte> memory_;  // [num_buffers, bundle_bytes]
};

}  // namespace steelyard
