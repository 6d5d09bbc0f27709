// What ranks say to each other when tokens visit experts, and how a rank packs and unpacks it.
//
// A rank sends every other one block: a header, one item per (token, expert) that goes there, and
// the hidden state of each such token once. What comes back is one row per item, in the order of
// items; they are added up in the order in which the router ranked the experts, so a token's bits
// do not depend on which replica, or how many ranks, computed them (I6). Nothing here knows model
// families.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/models/aligned_array.h"
#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/migrate/layer_tables.h"

namespace steelyard {

struct MoeShape {
  int hidden = 0;
  int num_experts = 0;
  int top_k = 0;
  int num_ranks = 0;
  int slots_per_rank = 0;
  int max_rows = 0;  // most tokens of one rank in a step
};

/// The tokens of one rank in one MoE layer, and where the router sends them.
struct RoutedRows {
  int layer = 0;  // MoE layer, from 0
  int num_rows = 0;
  const float* hidden = nullptr;     // [num_rows, hidden]
  const int32_t* experts = nullptr;  // [num_rows, top_k]
  const float* weights = nullptr;    // [num_rows, top_k]
  const Phase* phases = nullptr;     // [num_rows]
};

/// What all ranks must agree on in a dispatch, and a flag that each says of itself.
struct DispatchId {
  int64_t version = 0;  // of the layer's tables (I4)
  uint64_t step = 0;
  int32_t layer = 0;
  uint32_t more_work = 0;  // 1 when the sender may have tokens for another step
};

struct BlockHeader {
  DispatchId id;
  uint32_t num_rows = 0;
  uint32_t num_items = 0;
};

struct BlockItem {
  uint32_t row = 0;  // of the block
  int32_t expert = 0;
  uint16_t local_slot = 0;  // of the receiver
  uint16_t phase = 0;
};

struct BlockView {
  BlockHeader header;
  std::span<const BlockItem> items;
  const float* rows = nullptr;  // [header.num_rows, hidden]
};

/// Bytes of a block, a multiple of 64.
size_t BlockBytes(size_t num_items, size_t num_rows, int hidden);

/// Reads the block that `from_rank` sent and checks that it is of dispatch `id` (more_work apart)
/// and holds together; `rank` is who reads. Fails with kInternal naming ranks, layer and what
/// differs. Requires: `bytes` is 8-byte aligned.
Result<BlockView> ParseBlock(std::span<const std::byte> bytes, const MoeShape& shape,
                             const DispatchId& id, int rank, int from_rank);

/// Packs one rank's blocks. Allocates only when it is made.
class DispatchPacker {
 public:
  DispatchPacker(const MoeShape& shape, int rank);

  /// Chooses a slot for every (token, expert) and packs. What it returned before stays valid until
  /// the next call.
  void Pack(const RoutedRows& rows, const DispatchId& id, const RoutingTable& routing);

  std::span<const std::byte> send() const { return {send_.data(), send_size_}; }
  std::span<const size_t> send_bytes() const { return send_bytes_; }

  /// Writes out [num_rows, hidden] = for each row of the last Pack(), the sum over its experts of
  /// weight times the row that came back. `returned` are the blocks of rank 0, 1, .. in a row, each
  /// a row per item. Fails with kInternal when a block is of the wrong size.
  Status Combine(const RoutedRows& rows, std::span<const std::byte> returned,
                 std::span<const size_t> returned_bytes, float* out);

  /// Most bytes that one rank can be sent, and most that can come back.
  static size_t MaxReceiveBytes(const MoeShape& shape);
  static size_t MaxReturnBytes(const MoeShape& shape);

 private:
  struct Outgoing {
    uint32_t num_items = 0;
    uint32_t num_rows = 0;
    int last_row = -1;  // the last token that goes there
    std::byte* block = nullptr;
    BlockItem* items = nullptr;
    float* rows = nullptr;
  };

  void ChooseSlots(const RoutedRows& rows, uint64_t step, const RoutingTable& routing);
  void StartBlocks(const DispatchId& id);

  const MoeShape shape_;
  const int rank_;
  std::vector<uint32_t> ordinals_;  // [num_experts] tokens of each so far
  std::vector<int32_t> slots_;      // [max_rows, top_k] chosen, over all ranks
  std::vector<Outgoing> outgoing_;  // [num_ranks]
  std::vector<size_t> send_bytes_;  // [num_ranks]
  std::vector<const float*> next_;  // [num_ranks] the next row that came back
  AlignedArray<std::byte> send_;
  size_t send_size_ = 0;
};

}  // namespace steelyard
