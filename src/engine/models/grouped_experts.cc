#include "engine/models/grouped_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/compute/ops.h"

namespace steelyard {

GroupedExperts::GroupedExperts(const MoeShape& shape, int rank, ExpertBuffers& buffers,
                               GemmKernel& kernel)
    : shape_(shape),
      rank_(rank),
      buffers_(&buffers),
      kernel_(&kernel),
      first_(shape.slots_per_rank + 1),
      visits_(static_cast<size_t>(shape.num_ranks) * shape.max_rows * shape.top_k),
      in_(static_cast<size_t>(kMaxRows) * shape.hidden),
      gate_up_(static_cast<size_t>(kMaxRows) * 2 * buffers.shape().intermediate),
      active_(static_cast<size_t>(kMaxRows) * buffers.shape().intermediate),
      out_(static_cast<size_t>(kMaxRows) * shape.hidden) {
  for (std::vector<uint32_t>& counts : counts_) counts.resize(shape.slots_per_rank);
}

Status GroupedExperts::Run(int layer, std::span<const BlockView> blocks, Balancer& balancer,
                           float* results) {
  const LayerTables tables = balancer.tables(layer);
  STEELYARD_RETURN_IF_ERROR(CheckItems(layer, blocks, tables));
  GroupBySlot(blocks, results);
  for (int phase = 0; phase < kNumPhases; ++phase) {
    balancer.Record(layer, static_cast<Phase>(phase), counts_[phase]);
  }
  const std::span<const int32_t> held =
      tables.slot_to_expert.subspan(rank_ * shape_.slots_per_rank, shape_.slots_per_rank);
  for (int slot = 0; slot < shape_.slots_per_rank; ++slot) {
    if (first_[slot] == first_[slot + 1]) continue;
    const int buffer = tables.slot_to_buffer[slot];
    STEELYARD_RETURN_IF_ERROR(CheckBundle(layer, held[slot], buffer));
    RunExpert(buffer, std::span(visits_).subspan(first_[slot], first_[slot + 1] - first_[slot]));
    balancer.Pump();
  }
  // A rank that no token visited still takes in what is on its way to it.
  if (first_.back() == 0) balancer.Pump();
  return Status::Ok();
}

Status GroupedExperts::CheckItems(int layer, std::span<const BlockView> blocks,
                                  const LayerTables& tables) const {
  const int first_slot = rank_ * shape_.slots_per_rank;
  for (size_t from = 0; from < blocks.size(); ++from) {
    for (const BlockItem& item : blocks[from].items) {
      const int32_t held = tables.slot_to_expert[first_slot + item.local_slot];
      if (held != item.expert) {
        return Internal(
            fmt::format("rank {}, MoE layer {}: rank {} sent a token of expert {} to "
                        "slot {}, which holds expert {}",
                        rank_, layer, from, item.expert, item.local_slot, held));
      }
    }
  }
  return Status::Ok();
}

Status GroupedExperts::CheckBundle(int layer, int expert, int buffer) const {
  const BundleHeader& header = buffers_->header(buffer);
  if (header.layer == layer && header.expert == expert &&
      header.layout_id == buffers_->layout_id(layer)) {
    return Status::Ok();
  }
  return Internal(
      fmt::format("rank {}, MoE layer {}: buffer {} should hold expert {} but holds expert {} of "
                  "layer {} in layout {:016x}",
                  rank_, layer, buffer, expert, header.expert, header.layer, header.layout_id));
}

void GroupedExperts::GroupBySlot(std::span<const BlockView> blocks, float* results) {
  for (std::vector<uint32_t>& counts : counts_) std::fill(counts.begin(), counts.end(), 0);
  for (const BlockView& block : blocks) {
    for (const BlockItem& item : block.items) ++counts_[item.phase][item.local_slot];
  }
  // first_[slot + 1] is where the next visit of `slot` goes, and its end once all are there.
  size_t before = 0;
  first_[0] = 0;
  for (int slot = 0; slot < shape_.slots_per_rank; ++slot) {
    first_[slot + 1] = before;
    for (const std::vector<uint32_t>& counts : counts_) before += counts[slot];
  }
  for (const BlockView& block : blocks) {
    for (const BlockItem& item : block.items) {
      visits_[first_[item.local_slot + 1]++] = {
          block.rows + static_cast<size_t>(item.row) * shape_.hidden, results};
      results += shape_.hidden;
    }
  }
}

void GroupedExperts::RunExpert(int buffer, std::span<const Visit> visits) {
  const ExpertShape& expert = buffers_->shape();
  const size_t row_bytes = shape_.hidden * sizeof(float);
  for (size_t first = 0; first < visits.size(); first += kMaxRows) {
    const std::span<const Visit> piece =
        visits.subspan(first, std::min<size_t>(kMaxRows, visits.size() - first));
    const int num_rows = static_cast<int>(piece.size());
    for (int i = 0; i < num_rows; ++i) {
      std::memcpy(in_.data() + static_cast<size_t>(i) * shape_.hidden, piece[i].in, row_bytes);
    }
    kernel_->Multiply(expert.gate_up(), buffers_->gate_up(buffer), in_.data(), num_rows,
                      gate_up_.data());
    SiluAndMultiply(gate_up_.data(), num_rows, expert.intermediate, active_.data());
    kernel_->Multiply(expert.down(), buffers_->down(buffer), active_.data(), num_rows, out_.data());
    for (int i = 0; i < num_rows; ++i) {
      std::memcpy(piece[i].out, out_.data() + static_cast<size_t>(i) * shape_.hidden, row_bytes);
    }
  }
}

}  // namespace steelyard
