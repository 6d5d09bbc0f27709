// The keys and values of the tokens that a rank has seen, in blocks of kKvBlockPositions positions.
//
// All blocks are allocated before the first token; who owns which block is the scheduler's
// business.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/compute/ops.h"
#include "engine/models/aligned_array.h"

namespace steelyard {

inline constexpr int kKvBlockPositions = 32;
static_assert(kKvBlockPositions % kBlockPositionsUnit == 0);

constexpr int NumKvBlocks(int64_t num_positions) {
  return static_cast<int>((num_positions + kKvBlockPositions - 1) / kKvBlockPositions);
}

class KvCache {
 public:
  KvCache(int num_layers, int num_kv_heads, int head_dim, int num_blocks)
      : num_layers_(num_layers),
        side_(static_cast<size_t>(num_kv_heads) * kKvBlockPositions * head_dim),
        memory_(2 * side_ * num_layers * num_blocks) {}

  KvBlock block(int block_idx, int layer) const {
    const float* keys = memory_.data() + offset(block_idx, layer);
    return {keys, keys + side_};
  }
  MutableKvBlock mutable_block(int block_idx, int layer) {
    float* keys = memory_.data() + offset(block_idx, layer);
    return {keys, keys + side_};
  }

 private:
  size_t offset(int block_idx, int layer) const {
    return 2 * side_ * (static_cast<size_t>(block_idx) * num_layers_ + layer);
  }

  int num_layers_;
  size_t side_;                 // floats of the keys of one block and layer
  AlignedArray<float> memory_;  // [blocks, layers, keys | values, side]
};

}  // namespace steelyard
