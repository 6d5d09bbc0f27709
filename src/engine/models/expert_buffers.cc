#include "engine/models/expert_buffers.h"

#include <cstring>
#include <vector>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// Both matrices' layouts in one id; the odd multiplier keeps (a, b) and (b, a) apart.
uint64_t MixLayouts(uint64_t gate_up, uint64_t down) {
  const uint64_t mixed = (gate_up * 0x9E3779B97F4A7C15ULL) ^ (down + (gate_up >> 32));
  return mixed == 0 ? 1 : mixed;
}

}  // namespace

ExpertBuffers::ExpertBuffers(const ExpertShape& shape, const GemmKernel& kernel,
                             const Placement& placement, int num_spare)
    : shape_(shape),
      kernel_(&kernel),
      num_layers_(placement.num_layers()),
      slots_per_rank_(placement.topology().slots_per_rank()),
      num_buffers_(num_layers_ * slots_per_rank_ + num_spare),
      gate_up_bytes_(AlignedSize(kernel.PackedBytes(shape.gate_up()))),
      down_bytes_(AlignedSize(kernel.PackedBytes(shape.down()))),
      bundle_bytes_(sizeof(BundleHeader) + gate_up_bytes_ + down_bytes_),
      layout_id_(MixLayouts(kernel.LayoutId(shape.gate_up()), kernel.LayoutId(shape.down()))),
      memory_(bundle_bytes_ * num_buffers_) {}

Status ExpertBuffers::Load(const Placement& placement, int rank, const ExpertSource& source) {
  const size_t size = static_cast<size_t>(shape_.hidden) * shape_.intermediate;
  std::vector<float> gate_up(2 * size);
  std::vector<float> down(size);
  for (int layer = 0; layer < num_layers_; ++layer) {
    for (int slot = 0; slot < slots_per_rank_; ++slot) {
      const int expert = placement.slot_to_expert(layer)[rank * slots_per_rank_ + slot];
      STEELYARD_RETURN_IF_ERROR(source(layer, expert, gate_up, down));
      const std::span<std::byte> to = bundle(0, layer * slots_per_rank_ + slot);
      const BundleHeader header{layout_id_, layer, expert};
      std::memcpy(to.data(), &header, sizeof(header));
      kernel_->Pack(shape_.gate_up(), gate_up,
                    to.subspan(sizeof(header), kernel_->PackedBytes(shape_.gate_up())));
      kernel_->Pack(
          shape_.down(), down,
          to.subspan(sizeof(header) + gate_up_bytes_, kernel_->PackedBytes(shape_.down())));
    }
  }
  return Status::Ok();
}

const BundleHeader& ExpertBuffers::header(int buffer) const {
  return *reinterpret_cast<const BundleHeader*>(at(buffer));
}

std::span<std::byte> ExpertBuffers::bundle(int pool, int buffer) {
  STEELYARD_CHECK_EQ(pool, 0);
  STEELYARD_CHECK(buffer >= 0 && buffer < num_buffers_);
  return {memory_.data() + bundle_bytes_ * buffer, bundle_bytes_};
}

}  // namespace steelyard
