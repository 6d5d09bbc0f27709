// Matrix products with packed weights whose rows have the same bits whatever else is in the batch.
//
// y[m, o] = sum over i of x[m, i] * w[o, i]. The bits of row m depend on x[m], w and the kernel
// alone: not on num_rows, not on the row's position. That is what makes answers independent of
// batching, ranks and replicas (I6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "steelyard/base/status.h"

namespace steelyard {

/// kBf16: weights are stored as bf16 and inputs rounded to bf16 (nearest even); sums are float32 in
/// both.
enum class ComputeType { kF32, kBf16 };
std::string_view ComputeTypeName(ComputeType type);

struct WeightShape {
  int num_out = 0;
  int num_in = 0;
  friend bool operator==(const WeightShape&, const WeightShape&) = default;
};

/// One kernel with its scratch memory: one object per rank, used by that rank's thread alone.
class GemmKernel {
 public:
  virtual ~GemmKernel() = default;

  /// For example "avx2-bf16", "onednn-bf16".
  virtual std::string_view name() const = 0;
  virtual ComputeType type() const = 0;

  /// Names the packed layout, so that bytes packed for one kernel are never read by another. Never
  /// 0.
  virtual uint64_t LayoutId(const WeightShape& shape) const = 0;
  virtual size_t PackedBytes(const WeightShape& shape) const = 0;

  /// Packs `weight` [num_out, num_in]; `packed` is PackedBytes(shape) long and 64-byte aligned.
  virtual void Pack(const WeightShape& shape, std::span<const float> weight,
                    std::span<std::byte> packed) const = 0;

  /// Makes everything that Multiply() of this shape needs for up to `max_rows` rows. Call before
  /// the first token.
  virtual Status Prepare(const WeightShape& shape, int max_rows) = 0;

  /// y [num_rows, num_out] = x [num_rows, num_in] * w^T. Allocates nothing. Requires: Prepare() for
  /// this shape, num_rows <= max_rows; num_rows may be 0.
  virtual void Multiply(const WeightShape& shape, const std::byte* packed, const float* x,
                        int num_rows, float* y) = 0;
};

/// The fastest kernel of this machine that is batch-invariant: oneDNN where it has a fixed-M kernel
/// (AVX-512) and passes the self-check over `shapes`, our own otherwise. Serves `shapes`; Prepare()
/// of another may fail with kFailedPrecondition. Logs which and why at kInfo. Fails with kInternal
/// when our own kernel fails the self-check.
Result<std::unique_ptr<GemmKernel>> MakeGemmKernel(ComputeType type,
                                                   std::span<const WeightShape> shapes);

}  // namespace steelyard
