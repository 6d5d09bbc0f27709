#include "engine/models/dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/compute/ops.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

size_t RowsOffset(size_t num_items) {
  return AlignedSize(sizeof(BlockHeader) + num_items * sizeof(BlockItem));
}

Status Mismatch(const DispatchId& id, int rank, int from_rank, std::string_view what, int64_t there,
                int64_t here) {
  return Internal(
      fmt::format("step {}, rank {}, MoE layer {}: rank {} dispatched with {} {}, "
                  "here it is {}",
                  id.step, rank, id.layer, from_rank, what, there, here));
}

Status BadBlock(const DispatchId& id, int rank, int from_rank, std::string_view what) {
  return Internal(fmt::format("step {}, rank {}, MoE layer {}: the block from rank {} {}", id.step,
                              rank, id.layer, from_rank, what));
}

}  // namespace

size_t BlockBytes(size_t num_items, size_t num_rows, int hidden) {
  return AlignedSize(RowsOffset(num_items) + num_rows * hidden * sizeof(float));
}

Result<BlockView> ParseBlock(std::span<const std::byte> bytes, const MoeShape& shape,
                             const DispatchId& id, int rank, int from_rank) {
  BlockView view;
  if (bytes.size() < sizeof(BlockHeader)) {
    return BadBlock(id, rank, from_rank, fmt::format("has only {} bytes", bytes.size()));
  }
  std::memcpy(&view.header, bytes.data(), sizeof(BlockHeader));
  const DispatchId& sent = view.header.id;
  if (sent.step != id.step) {
    return Mismatch(id, rank, from_rank, "step", static_cast<int64_t>(sent.step),
                    static_cast<int64_t>(id.step));
  }
  if (sent.layer != id.layer) {
    return Mismatch(id, rank, from_rank, "layer", sent.layer, id.layer);
  }
  if (sent.version != id.version) {
    return Mismatch(id, rank, from_rank, "tables of version", sent.version, id.version);
  }
  const size_t num_items = view.header.num_items;
  const size_t num_rows = view.header.num_rows;
  const size_t max_rows = static_cast<size_t>(shape.max_rows);
  if (num_rows > max_rows || num_items > max_rows * shape.top_k ||
      bytes.size() != BlockBytes(num_items, num_rows, shape.hidden)) {
    return BadBlock(id, rank, from_rank,
                    fmt::format("says it has {} items and {} rows, which {} bytes do not hold",
                                num_items, num_rows, bytes.size()));
  }
  view.items = {reinterpret_cast<const BlockItem*>(bytes.data() + sizeof(BlockHeader)), num_items};
  view.rows = reinterpret_cast<const float*>(bytes.data() + RowsOffset(num_items));
  for (const BlockItem& item : view.items) {
    if (item.row >= num_rows || item.local_slot >= shape.slots_per_rank ||
        item.phase >= kNumPhases) {
      return BadBlock(id, rank, from_rank,
                      fmt::format("has an item for row {}, slot {}, phase {}", item.row,
                                  item.local_slot, item.phase));
    }
  }
  return view;
}

size_t DispatchPacker::MaxReceiveBytes(const MoeShape& shape) {
  const size_t rows = static_cast<size_t>(shape.max_rows);
  return shape.num_ranks * BlockBytes(rows * shape.top_k, rows, shape.hidden);
}

size_t DispatchPacker::MaxReturnBytes(const MoeShape& shape) {
  return static_cast<size_t>(shape.max_rows) * shape.top_k * shape.hidden * sizeof(float);
}

DispatchPacker::DispatchPacker(const MoeShape& shape, int rank)
    : shape_(shape),
      rank_(rank),
      ordinals_(shape.num_experts),
      slots_(static_cast<size_t>(shape.max_rows) * shape.top_k),
      outgoing_(shape.num_ranks),
      send_bytes_(shape.num_ranks),
      next_(shape.num_ranks) {
  // A token goes to at most top_k ranks; every block is rounded up twice.
  const size_t rows = static_cast<size_t>(shape.max_rows);
  const size_t copies = std::min(shape.top_k, shape.num_ranks);
  send_ = AlignedArray<std::byte>(rows * shape.top_k * sizeof(BlockItem) +
                                  rows * copies * shape.hidden * sizeof(float) +
                                  shape.num_ranks * 2 * AlignedSize(sizeof(BlockHeader) + 64));
}

void DispatchPacker::Pack(const RoutedRows& rows, const DispatchId& id,
                          const RoutingTable& routing) {
  STEELYARD_CHECK_LE(rows.num_rows, shape_.max_rows);
  ChooseSlots(rows, id.step, routing);
  StartBlocks(id);
  for (Outgoing& to : outgoing_) to.last_row = -1;
  const size_t row_bytes = shape_.hidden * sizeof(float);
  for (int row = 0; row < rows.num_rows; ++row) {
    for (int k = 0; k < shape_.top_k; ++k) {
      const size_t at = static_cast<size_t>(row) * shape_.top_k + k;
      Outgoing& to = outgoing_[slots_[at] / shape_.slots_per_rank];
      if (to.last_row != row) {
        to.last_row = row;
        std::memcpy(to.rows + static_cast<size_t>(to.num_rows) * shape_.hidden,
                    rows.hidden + static_cast<size_t>(row) * shape_.hidden, row_bytes);
        ++to.num_rows;
      }
      to.items[to.num_items++] = {to.num_rows - 1, rows.experts[at],
                                  static_cast<uint16_t>(slots_[at] % shape_.slots_per_rank),
                                  static_cast<uint16_t>(rows.phases[row])};
    }
  }
}

void DispatchPacker::ChooseSlots(const RoutedRows& rows, uint64_t step,
                                 const RoutingTable& routing) {
  std::fill(ordinals_.begin(), ordinals_.end(), 0);
  for (Outgoing& to : outgoing_) to = Outgoing{};
  for (int row = 0; row < rows.num_rows; ++row) {
    for (int k = 0; k < shape_.top_k; ++k) {
      const size_t at = static_cast<size_t>(row) * shape_.top_k + k;
      const int expert = rows.experts[at];
      const int32_t slot =
          routing.Pick(expert, ordinals_[expert]++, ReplicaOffset(rank_, step, expert));
      slots_[at] = slot;
      Outgoing& to = outgoing_[slot / shape_.slots_per_rank];
      ++to.num_items;
      if (to.last_row != row) {
        to.last_row = row;
        ++to.num_rows;
      }
    }
  }
}

void DispatchPacker::StartBlocks(const DispatchId& id) {
  send_size_ = 0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    Outgoing& to = outgoing_[rank];
    const BlockHeader header{id, to.num_rows, to.num_items};
    to.block = send_.data() + send_size_;
    std::memcpy(to.block, &header, sizeof(header));
    to.items = reinterpret_cast<BlockItem*>(to.block + sizeof(header));
    to.rows = reinterpret_cast<float*>(to.block + RowsOffset(to.num_items));
    send_bytes_[rank] = BlockBytes(to.num_items, to.num_rows, shape_.hidden);
    send_size_ += send_bytes_[rank];
    to.num_items = 0;
    to.num_rows = 0;
  }
  STEELYARD_CHECK_LE(send_size_, send_.size());
}

Status DispatchPacker::Combine(const RoutedRows& rows, std::span<const std::byte> returned,
                               std::span<const size_t> returned_bytes, float* out) {
  size_t first = 0;
  for (int rank = 0; rank < shape_.num_ranks; ++rank) {
    const size_t expected = outgoing_[rank].num_items * shape_.hidden * sizeof(float);
    if (returned_bytes[rank] != expected) {
      return Internal(fmt::format("rank {}, MoE layer {}: rank {} returned {} bytes, not {}", rank_,
                                  rows.layer, rank, returned_bytes[rank], expected));
    }
    next_[rank] = reinterpret_cast<const float*>(returned.data() + first);
    first += expected;
  }
  const size_t size = static_cast<size_t>(shape_.hidden);
  std::fill(out, out + rows.num_rows * size, 0.0F);
  for (int row = 0; row < rows.num_rows; ++row) {
    for (int k = 0; k < shape_.top_k; ++k) {
      const size_t at = static_cast<size_t>(row) * shape_.top_k + k;
      const float*& next = next_[slots_[at] / shape_.slots_per_rank];
      AddScaled(next, rows.weights[at], shape_.hidden, out + row * size);
      next += size;
    }
  }
  return Status::Ok();
}

}  // namespace steelyard
