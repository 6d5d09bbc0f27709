#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/test_scale.h"
#include "engine/compute/ops.h"
#include "engine/compute/ops_functions.h"
#include "engine/compute/test_data.h"

namespace steelyard {
namespace {

/// Keys and values of one sequence, with the blocks that hold them. What is not stored is NaN.
class Cache {
 public:
  Cache(const AttentionShape& shape, int max_positions, uint32_t seed) : shape_(shape) {
    const int num_blocks = (max_positions + shape.block_positions - 1) / shape.block_positions;
    const size_t width = static_cast<size_t>(shape.num_kv_heads) * shape.head_dim;
    const size_t block_floats = width * shape.block_positions;
    k_ = RandomFloats(width * max_positions, seed, 2.0F);
    v_ = RandomFloats(width * max_positions, seed + 1);
    storage_.assign(2 * num_blocks * block_floats, std::numeric_limits<float>::quiet_NaN());
    for (int b = 0; b < num_blocks; ++b) {
      float* keys = &storage_[2 * b * block_floats];
      mutable_blocks_.push_back({.keys = keys, .values = keys + block_floats});
      blocks_.push_back({.keys = keys, .values = keys + block_floats});
    }
  }

  void StoreUpTo(int position) {
    for (; num_stored_ <= position; ++num_stored_) {
      StoreKv(shape_, num_stored_ % shape_.block_positions, k(num_stored_, 0), v(num_stored_, 0),
              mutable_blocks_[num_stored_ / shape_.block_positions]);
    }
  }

  const float* k(int position, int head) const { return &k_[Offset(position, head)]; }
  const float* v(int position, int head) const { return &v_[Offset(position, head)]; }
  const std::vector<KvBlock>& blocks() const { return blocks_; }

 private:
  size_t Offset(int position, int head) const {
    return (static_cast<size_t>(position) * shape_.num_kv_heads + head) * shape_.head_dim;
  }

  AttentionShape shape_;
  std::vector<float> k_;  // [max_positions, num_kv_heads, head_dim]
  std::vector<float> v_;
  std::vector<float> storage_;
  std::vector<MutableKvBlock> mutable_blocks_;
  std::vector<KvBlock> blocks_;
  int num_stored_ = 0;
};

std::vector<float> RunAttend(const AttentionShape& shape, const std::vector<float>& queries,
                             const Cache& cache, int position,
                             const OpsFunctions& ops = BestOpsFunctions()) {
  std::vector<float> scratch(position + shape.block_positions);
  std::vector<float> out(queries.size());
  ops.attend(shape, queries.data(), cache.blocks().data(), position, scratch.data(), out.data());
  return out;
}

std::vector<double> ReferenceAttention(const AttentionShape& shape,
                                       const std::vector<float>& queries, const Cache& cache,
                                       int position) {
  std::vector<double> out(queries.size());
  for (int head = 0; head < shape.num_heads; ++head) {
    const int kv_head = head / (shape.num_heads / shape.num_kv_heads);
    std::vector<double> weights;
    double sum = 0;
    for (int p = 0; p <= position; ++p) {
      double score = 0;
      for (int d = 0; d < shape.head_dim; ++d) {
        score += double{queries[head * shape.head_dim + d]} * cache.k(p, kv_head)[d];
      }
      weights.push_back(std::exp(score / std::sqrt(shape.head_dim)));
      sum += weights.back();
    }
    for (int d = 0; d < shape.head_dim; ++d) {
      for (int p = 0; p <= position; ++p) {
        out[head * shape.head_dim + d] += weights[p] / sum * cache.v(p, kv_head)[d];
      }
    }
  }
  return out;
}

const AttentionShape kTiny{
    .num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .block_positions = 16};

TEST(Attention, OfOnePositionIsItsValue) {
  Cache cache(kTiny, 1, 1);
  cache.StoreUpTo(0);
  const auto out = RunAttend(kTiny, RandomFloats(128, 2), cache, 0);
  for (int head = 0; head < 4; ++head) {
    for (int d = 0; d < 32; ++d) {
      EXPECT_EQ(out[head * 32 + d], cache.v(0, head / 2)[d]);
    }
  }
}

TEST(Attention, AgreesWithDoubleForManyShapesAndPositions) {
  const OpsFunctions* tables[] = {&simd_portable::kOpsFunctions, &BestOpsFunctions()};
  for (int seed = 0; seed < Scaled(60); ++seed) {
    std::mt19937 random(seed);
    AttentionShape shape;
    shape.num_kv_heads = static_cast<int>(random() % 3) + 1;
    shape.num_heads = shape.num_kv_heads * (static_cast<int>(random() % 3) + 1);
    shape.head_dim = 2 * (static_cast<int>(random() % 40) + 1);
    shape.block_positions = 8 * (static_cast<int>(random() % 4) + 1);
    const int position = static_cast<int>(random() % 100);
    Cache cache(shape, position + 1, seed);
    cache.StoreUpTo(position);
    const auto queries = RandomFloats(static_cast<size_t>(shape.num_heads) * shape.head_dim, seed);
    const auto expected = ReferenceAttention(shape, queries, cache, position);
    for (const OpsFunctions* ops : tables) {
      const auto out = RunAttend(shape, queries, cache, position, *ops);
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(out[i], expected[i], 2e-6) << "seed " << seed << " element " << i;
      }
    }
  }
}

TEST(Attention, DoesNotDependOnPositionsThatComeLater) {
  constexpr int kPositions = 70;
  const auto queries = RandomFloats(128, 3);
  Cache whole(kTiny, kPositions, 4);
  whole.StoreUpTo(kPositions - 1);
  Cache growing(kTiny, kPositions, 4);
  for (int position = 0; position < kPositions; ++position) {
    growing.StoreUpTo(position);
    EXPECT_TRUE(SameBits(RunAttend(kTiny, queries, growing, position),
                         RunAttend(kTiny, queries, whole, position)))
        << "position " << position;
  }
}

TEST(Attention, DoesNotDependOnTheOtherHeads) {
  const AttentionShape one{
      .num_heads = 1, .num_kv_heads = 1, .head_dim = 32, .block_positions = 16};
  Cache four(kTiny, 40, 5);
  four.StoreUpTo(39);
  const auto queries = RandomFloats(128, 6);
  const auto together = RunAttend(kTiny, queries, four, 39);
  for (int head = 0; head < 4; ++head) {
    std::vector<KvBlock> blocks;
    for (const KvBlock& block : four.blocks()) {
      const int offset = head / 2 * 32 * 16;
      blocks.push_back({.keys = block.keys + offset, .values = block.values + offset});
    }
    std::vector<float> scratch(48);
    std::vector<float> out(32);
    Attend(one, &queries[head * 32], blocks, 39, scratch.data(), out.data());
    EXPECT_TRUE(SameBits(out, {&together[head * 32], 32}));
  }
}

TEST(Attention, StaysFiniteWithScoresFarApart) {
  Cache cache(kTiny, 20, 7);
  cache.StoreUpTo(19);
  const auto out = RunAttend(kTiny, RandomFloats(128, 8, 1000.0F), cache, 19);
  for (const float value : out) {
    EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(AttentionDeathTest, RefusesBlocksThatAreNoMultipleOfEight) {
  AttentionShape shape = kTiny;
  shape.block_positions = 12;
  float some = 0;
  const KvBlock block{.keys = &some, .values = &some};
  EXPECT_DEATH(Attend(shape, &some, {&block, 1}, 0, &some, &some),
               "block_positions % kBlockPositionsUnit == 0");
}

}  // namespace
}  // namespace steelyard
