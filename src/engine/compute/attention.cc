#include <algorithm>

#include "engine/compute/ops.h"
#include "engine/compute/ops_functions.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

void CheckShape(const AttentionShape& shape) {
  STEELYARD_CHECK_EQ(shape.block_positions % kBlockPositionsUnit, 0);
  STEELYARD_CHECK_EQ(shape.num_heads % shape.num_kv_heads, 0);
}

}  // namespace

void StoreKv(const AttentionShape& shape, int position_in_block, const float* k, const float* v,
             const MutableKvBlock& block) {
  STEELYARD_CHECK_GE(position_in_block, 0);
  STEELYARD_CHECK_LT(position_in_block, shape.block_positions);
  for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
    const int64_t head_floats = int64_t{shape.block_positions} * shape.head_dim;
    float* keys = block.keys + head * head_floats + position_in_block;
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      keys[d * shape.block_positions] = k[head * shape.head_dim + d];
    }
    std::copy_n(v + head * shape.head_dim, shape.head_dim,
                block.values + head * head_floats + int64_t{position_in_block} * shape.head_dim);
  }
}

void Attend(const AttentionShape& shape, const float* queries, std::span<const KvBlock> blocks,
            int position, float* scratch, float* out) {
  CheckShape(shape);
  STEELYARD_CHECK_GE(position, 0);
  STEELYARD_CHECK_LT(static_cast<size_t>(position / shape.block_positions), blocks.size());
  BestOpsFunctions().attend(shape, queries, blocks.data(), position, scratch, out);
}

}  // namespace steelyard
