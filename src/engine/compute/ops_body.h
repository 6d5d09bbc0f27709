// Norm, activation, softmax and attention for one instruction set; included once by each
// ops_ISA.cc.
//
// Everything is computed in vectors of eight, the rest of a row in a vector that is filled up, so
// that an element's bits do not depend on where it stands; sums run in eight lanes that are joined
// in one fixed order.
#pragma once

#include "engine/compute/ops_functions.h"
#include "engine/compute/simd.h"

namespace steelyard::STEELYARD_SIMD {

constexpr int kLanes = 8;
constexpr float kInfinity = __builtin_inff();

/// The first `count` elements, the other lanes `fill`.
STEELYARD_INLINE F32x8 LoadSome(const float* from, int count, float fill) {
  float lanes[kLanes] = {fill, fill, fill, fill, fill, fill, fill, fill};
  __builtin_memcpy(lanes, from, sizeof(float) * count);
  return Load<F32x8>(lanes);
}

STEELYARD_INLINE void StoreSome(float* to, F32x8 v, int count) {
  __builtin_memcpy(to, &v, sizeof(float) * count);
}

/// Calls operation(offset, load, store) for each vector of a row of `width`, where load(from, fill)
/// and store(to, v) move the lanes that lie inside the row.
template <typename Operation>
STEELYARD_INLINE void ForEachVector(int width, Operation operation) {
  int i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    operation(
        i, [](const float* from, float) { return Load<F32x8>(from); },
        [](float* to, F32x8 v) { Store(to, v); });
  }
  if (i < width) {
    const int count = width - i;
    operation(
        i, [count](const float* from, float fill) { return LoadSome(from, count, fill); },
        [count](float* to, F32x8 v) { StoreSome(to, v, count); });
  }
}

STEELYARD_INLINE float SumOfLanes(F32x8 v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

STEELYARD_INLINE float MaxOfLanes(F32x8 v) {
  float max = v[0];
  for (int i = 1; i < kLanes; ++i) {
    max = v[i] > max ? v[i] : max;
  }
  return max;
}

/// e^x within 2 units in the last place; 0 below -87.3, about 3.3e38 from 88.7 on, NaN for NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, and e^r by its Taylor series, whose first missing term,
/// r^8 / 8!, is below 6e-9. ln 2 is subtracted in two parts, the first with zeros enough at its end
/// that n times it is exact.
STEELYARD_INLINE F32x8 Exp(F32x8 x) {
  constexpr float kLowest = -87.3F;
  constexpr float kHighest = 88.7F;
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer
  const F32x8 lowest = Broadcast<F32x8>(kLowest);
  const F32x8 highest = Broadcast<F32x8>(kHighest);
  F32x8 clamped = x < lowest ? lowest : x;
  clamped = clamped > highest ? highest : clamped;
  const F32x8 shifted = Fma(clamped, Broadcast<F32x8>(kLog2E), Broadcast<F32x8>(kRounder));
  const F32x8 n = shifted - kRounder;
  F32x8 r = Fma(n, Broadcast<F32x8>(-kLn2High), clamped);
  r = Fma(n, Broadcast<F32x8>(-kLn2Low), r);
  F32x8 sum = Broadcast<F32x8>(1.0F / 5040);
  for (const float coefficient : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) {
    sum = Fma(sum, r, Broadcast<F32x8>(coefficient));
  }
  // n is the integer in the low bits of `shifted`; 2^n multiplies in two halves, since n = 128
  // has no exponent of its own.
  const I32x8 exponent = (I32x8)shifted - (I32x8)Broadcast<F32x8>(kRounder);
  const I32x8 half = exponent >> 1;
  const F32x8 scaled = sum * (F32x8)((half + 127) << 23) * (F32x8)((exponent - half + 127) << 23);
  return x < lowest ? F32x8{} : scaled;
}

STEELYARD_INLINE void RmsNormRow(const float* x, const float* weight, int width, float epsilon,
                                 float* y) {
  F32x8 squares{};
  ForEachVector(width, [&](int i, auto load, auto) {
    const F32x8 v = load(x + i, 0.0F);
    squares = Fma(v, v, squares);
  });
  const float mean = SumOfLanes(squares) / static_cast<float>(width);
  const F32x8 scale = Broadcast<F32x8>(1.0F / __builtin_sqrtf(mean + epsilon));
  ForEachVector(width, [&](int i, auto load, auto store) {
    store(y + i, load(weight + i, 0.0F) * (load(x + i, 0.0F) * scale));
  });
}

void RmsNorm(const float* x, const float* weight, int num_rows, int width, float epsilon,
             float* y) {
  for (int64_t row = 0; row < num_rows; ++row) {
    RmsNormRow(x + row * width, weight, width, epsilon, y + row * width);
  }
}

void SiluAndMultiply(const float* gate_up, int num_rows, int width, float* out) {
  for (int64_t row = 0; row < num_rows; ++row) {
    const float* gate = gate_up + row * 2 * width;
    ForEachVector(width, [&](int i, auto load, auto store) {
      const F32x8 g = load(gate + i, 0.0F);
      store(out + row * width + i, g / (1.0F + Exp(-g)) * load(gate + width + i, 0.0F));
    });
  }
}

/// probabilities = exp(scores - max); returns their sum. Both are [size] and may be the same.
STEELYARD_INLINE float ExpOfDifferences(const float* scores, int size, float* probabilities) {
  F32x8 lane_max = Broadcast<F32x8>(-kInfinity);
  ForEachVector(size, [&](int i, auto load, auto) {
    const F32x8 v = load(scores + i, -kInfinity);
    lane_max = v > lane_max ? v : lane_max;
  });
  const float max = MaxOfLanes(lane_max);
  F32x8 sums{};
  ForEachVector(size, [&](int i, auto load, auto store) {
    const F32x8 e = Exp(load(scores + i, -kInfinity) - max);
    sums += e;
    store(probabilities + i, e);
  });
  return SumOfLanes(sums);
}

void Softmax(const float* logits, int size, float* probabilities) {
  const float sum = ExpOfDifferences(logits, size, probabilities);
  for (int i = 0; i < size; ++i) {
    probabilities[i] /= sum;
  }
}

/// scores[p] = scale * (query . key of position p) for all positions of a block, whose keys are
/// [head_dim, block_positions].
STEELYARD_INLINE void ScoreBlock(const AttentionShape& shape, const float* query, const float* keys,
                                 float scale, float* scores) {
  for (int p = 0; p < shape.block_positions; p += kLanes) {
    F32x8 sum{};
    for (int d = 0; d < shape.head_dim; ++d) {
      const F32x8 key = Load<F32x8>(keys + int64_t{d} * shape.block_positions + p);
      sum = Fma(Broadcast<F32x8>(query[d]), key, sum);
    }
    Store(scores + p, sum * scale);
  }
}

/// `kVectors` vectors of a head's output from element `offset` on: the sum over positions, in
/// order, of probability * value.
template <int kVectors>
STEELYARD_INLINE void WeighValues(const AttentionShape& shape, const KvBlock* blocks, int kv_head,
                                  int position, const float* probabilities, float norm, int offset,
                                  int count, float* out) {
  const int64_t head_floats = int64_t{shape.block_positions} * shape.head_dim;
  F32x8 sums[kVectors] = {};
  for (int start = 0; start <= position; start += shape.block_positions) {
    const int left = position + 1 - start;
    const int num_positions = left < shape.block_positions ? left : shape.block_positions;
    const float* values = blocks[start / shape.block_positions].values + kv_head * head_floats;
    for (int p = 0; p < num_positions; ++p) {
      const F32x8 probability = Broadcast<F32x8>(probabilities[start + p]);
      const float* value = values + int64_t{p} * shape.head_dim + offset;
      for (int v = 0; v < kVectors; ++v) {
        const F32x8 lanes =
            count < kLanes ? LoadSome(value, count, 0.0F) : Load<F32x8>(value + v * kLanes);
        sums[v] = Fma(probability, lanes, sums[v]);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    if (count < kLanes) {
      StoreSome(out + offset, sums[v] / norm, count);
    } else {
      Store(out + offset + v * kLanes, sums[v] / norm);
    }
  }
}

void Attend(const AttentionShape& shape, const float* queries, const KvBlock* blocks, int position,
            float* scratch, float* out) {
  const int heads_per_kv_head = shape.num_heads / shape.num_kv_heads;
  const int64_t head_floats = int64_t{shape.block_positions} * shape.head_dim;
  const float scale = 1.0F / __builtin_sqrtf(static_cast<float>(shape.head_dim));
  for (int head = 0; head < shape.num_heads; ++head) {
    const int kv_head = head / heads_per_kv_head;
    const float* query = queries + int64_t{head} * shape.head_dim;
    float* head_out = out + int64_t{head} * shape.head_dim;
    for (int start = 0; start <= position; start += shape.block_positions) {
      ScoreBlock(shape, query, blocks[start / shape.block_positions].keys + kv_head * head_floats,
                 scale, scratch + start);
    }
    const float norm = ExpOfDifferences(scratch, position + 1, scratch);
    int d = 0;
    for (; d + 4 * kLanes <= shape.head_dim; d += 4 * kLanes) {
      WeighValues<4>(shape, blocks, kv_head, position, scratch, norm, d, kLanes, head_out);
    }
    for (; d < shape.head_dim; d += kLanes) {
      const int left = shape.head_dim - d;
      WeighValues<1>(shape, blocks, kv_head, position, scratch, norm, d,
                     left < kLanes ? left : kLanes, head_out);
    }
  }
}

inline constexpr OpsFunctions kAllOps = {RmsNorm, SiluAndMultiply, Softmax, Attend};

}  // namespace steelyard::STEELYARD_SIMD
