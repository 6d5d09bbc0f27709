// Random numbers and references for the tests and benches of this folder.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "engine/compute/bf16.h"
#include "engine/compute/gemm.h"

namespace steelyard {

inline std::vector<float> RandomFloats(size_t size, uint32_t seed, float scale = 1.0F) {
  std::mt19937 bits(seed);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(size);
  for (float& value : values) {
    value = uniform(bits);
  }
  return values;
}

/// Memory that begins at a multiple of 64 bytes, as packed weights must.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size) : storage_(size + 63), size_(size) {}
  std::span<std::byte> span() {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    return {storage_.data() + (64 - address % 64) % 64, size_};
  }

 private:
  std::vector<std::byte> storage_;
  size_t size_;
};

inline AlignedBytes PackWeight(const GemmKernel& kernel, const WeightShape& shape,
                               std::span<const float> weight) {
  AlignedBytes packed(kernel.PackedBytes(shape));
  kernel.Pack(shape, weight, packed.span());
  return packed;
}

/// x [num_rows, num_in] * w^T in double, of inputs and weights rounded as `type` says.
inline std::vector<double> ReferenceProduct(ComputeType type, const WeightShape& shape,
                                            std::span<const float> weight, std::span<const float> x,
                                            int num_rows) {
  const auto rounded = [type](float v) { return type == ComputeType::kF32 ? v : RoundToBf16(v); };
  std::vector<double> y(static_cast<size_t>(num_rows) * shape.num_out);
  for (int row = 0; row < num_rows; ++row) {
    for (int o = 0; o < shape.num_out; ++o) {
      double sum = 0;
      for (int i = 0; i < shape.num_in; ++i) {
        sum += double{rounded(x[static_cast<size_t>(row) * shape.num_in + i])} *
               double{rounded(weight[static_cast<size_t>(o) * shape.num_in + i])};
      }
      y[static_cast<size_t>(row) * shape.num_out + o] = sum;
    }
  }
  return y;
}

inline bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace steelyard
