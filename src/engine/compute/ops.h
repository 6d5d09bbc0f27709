// The element-wise and reducing operations of a transformer layer, in float32, each row independent
// of every other.
//
// All reduce in a fixed order, so a row's bits do not depend on what else is computed. Nothing
// allocates.
#pragma once

#include <cstdint>
#include <span>

namespace steelyard {

/// y = x / rms(x) * weight, row by row; x and y are [num_rows, width] and may be the same memory.
void RmsNorm(const float* x, const float* weight, int num_rows, int width, float epsilon, float* y);

/// cos and sin of position * theta^(-2i/head_dim), each [max_positions, head_dim / 2], filled once
/// at load.
void FillRopeTables(int max_positions, int head_dim, double theta, float* cos_table,
                    float* sin_table);

/// Rotates the halves of one head in place (the "rotate_half" convention of Hugging Face); cos and
/// sin are [head_dim / 2] of the token's position.
void ApplyRope(float* head, int head_dim, const float* cos_row, const float* sin_row);

/// out = silu(gate) * up over [num_rows, width]; gate_up rows are [gate | up], 2 * width wide.
void SiluAndMultiply(const float* gate_up, int num_rows, int width, float* out);

/// y += x over `size` elements.
void AddInPlace(const float* x, int64_t size, float* y);
/// y += scale * x.
void AddScaled(const float* x, float scale, int64_t size, float* y);

/// Softmax over `logits` [num_experts], then the top_k largest (ties to the lowest id) in
/// descending order, renormalised to sum to 1 when `normalize`. `experts` and `weights` are
/// [top_k]; `scratch` is [num_experts].
void SoftmaxTopK(const float* logits, int num_experts, int top_k, bool normalize, int32_t* experts,
                 float* weights, float* scratch);

/// Index of the largest value, the lowest of equals. Requires: not empty.
int32_t ArgMax(std::span<const float> values);

/// One block of cached keys and values of one layer, as StoreKv() lays it out: keys are
/// [num_kv_heads, head_dim, block_positions], so that the scores of adjacent positions are computed
/// side by side, values [num_kv_heads, block_positions, head_dim]; num_kv_heads * block_positions *
/// head_dim floats each. Floats of positions not stored yet may be anything.
struct KvBlock {
  const float* keys;
  const float* values;
};
struct MutableKvBlock {
  float* keys;
  float* values;
};

/// block_positions is a multiple of this.
inline constexpr int kBlockPositionsUnit = 8;

struct AttentionShape {
  int num_heads;  // a multiple of num_kv_heads
  int num_kv_heads;
  int head_dim;
  int block_positions;  // keys per block; block b holds positions [b, b + 1) * block_positions
};

/// Stores one position's key and value, `k` and `v` [num_kv_heads, head_dim], in its block.
/// Requires: 0 <= position_in_block < block_positions.
void StoreKv(const AttentionShape& shape, int position_in_block, const float* k, const float* v,
             const MutableKvBlock& block);

/// Attention of one token's queries [num_heads, head_dim] over positions 0..position of its
/// sequence, whose blocks are `blocks` in order. Scores are scaled by head_dim^-1/2; sums run over
/// absolute positions in order, so the bits do not depend on positions after `position`. `scratch`
/// holds position + 1 floats, rounded up to block_positions. Writes out [num_heads, head_dim].
void Attend(const AttentionShape& shape, const float* queries, std::span<const KvBlock> blocks,
            int position, float* scratch, float* out);

}  // namespace steelyard
