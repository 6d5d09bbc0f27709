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
/// [head_dim, block_positions]. Four chains over head_dim, joined at the end: the additions of one
/// wait for each other.
STEELYARD_INLINE void ScoreBlock(const AttentionShape& shape, const float* query, const float* keys,
                                 float scale, float* scores) {
  const int64_t stride = shape.block_positions;
  for (int p = 0; p < shape.block_positions; p += kLanes) {
    F32x8 sums[4] = {};
    int d = 0;
    for (; d + 4 <= shape.head_dim; d += 4) {
#pragma GCC unroll 4
      for (int chain = 0; chain < 4; ++chain) {
        const F32x8 key = Load<F32x8>(keys + (d + chain) * stride + p);
        sums[chain] = Fma(Broadcast<F32x8>(query[d + chain]), key, sums[chain]);
      }
    }
    for (; d < shape.head_dim; ++d) {
      sums[0] = Fma(Broadcast<F32x8>(query[d]), Load<F32x8>(keys + d * stride + p), sums[0]);
    }
    Store(scores + p, ((sums[0] + sums[1]) + (sums[2] + sums[3])) * scale);
  }
}

/// What the values of one kv head are weighed with.
struct Weighing {
  const AttentionShape& shape;
  const KvBlock* blocks;
  int kv_head;
  int position;
  const float* probabilities;  // times `norm`
  float norm;
};

/// `kVectors` vectors of a head's output: the sum over positions of probability * value, even and
/// odd positions in chains of their own. load(values) and store(v, sum) move vector v.
template <int kVectors, typename LoadValues, typename StoreSum>
STEELYARD_INLINE void WeighValues(const Weighing& weighing, LoadValues load, StoreSum store) {
  const AttentionShape& shape = weighing.shape;
  const int64_t head_floats = int64_t{shape.block_positions} * shape.head_dim;
  F32x8 sums[2][kVectors] = {};
  for (int start = 0; start <= weighing.position; start += shape.block_positions) {
    const int left = weighing.position + 1 - start;
    const int num_positions = left < shape.block_positions ? left : shape.block_positions;
    const float* values =
        weighing.blocks[start / shape.block_positions].values + weighing.kv_head * head_floats;
    const auto add = [&](int p, F32x8(&chain)[kVectors]) {
      const F32x8 probability = Broadcast<F32x8>(weighing.probabilities[start + p]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        chain[v] = Fma(probability, load(values + int64_t{p} * shape.head_dim, v), chain[v]);
      }
    };
    int p = 0;
    for (; p + 2 <= num_positions; p += 2) {
      add(p, sums[0]);
      add(p + 1, sums[1]);
    }
    if (p < num_positions) {
      add(p, sums[0]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    store(v, (sums[0][v] + sums[1][v]) / weighing.norm);
  }
}

STEELYARD_INLINE void WeighHead(const Weighing& weighing, float* out) {
  const int head_dim = weighing.shape.head_dim;
  int d = 0;
  for (; d + 4 * kLanes <= head_dim; d += 4 * kLanes) {
    WeighValues<4>(
        weighing, [d](const float* value, int v) { return Load<F32x8>(value + d + v * kLanes); },
        [d, out](int v, F32x8 sum) { Store(out + d + v * kLanes, sum); });
  }
  for (; d < head_dim; d += kLanes) {
    const int count = head_dim - d < kLanes ? head_dim - d : kLanes;
    WeighValues<1>(
        weighing, [d, count](const float* value, int) { return LoadSome(value + d, count, 0.0F); },
        [d, count, out](int, F32x8 sum) { StoreSome(out + d, sum, count); });
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
    WeighHead({.shape = shape,
               .blocks = blocks,
               .kv_head = kv_head,
               .position = position,
               .probabilities = scratch,
               .norm = norm},
              head_out);
  }
}

inline constexpr OpsFunctions kAllOps = {RmsNorm, SiluAndMultiply, Softmax, Attend};

}  // namespace steelyard::STEELYARD_SIMD
