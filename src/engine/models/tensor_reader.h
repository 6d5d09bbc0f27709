// Reads a family's weights from a checkpoint, in two passes over one list of tensors.
//
// The first pass only compares names, shapes and dtypes, so that a config.json that lies is refused
// before memory is taken for what it says; the second reads and packs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/compute/gemm.h"
#include "engine/models/aligned_array.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// A linear layer's weights as a kernel reads them.
struct PackedLinear {
  WeightShape shape;
  AlignedArray<std::byte> packed;

  void Multiply(GemmKernel& kernel, const float* x, int num_rows, float* y) const {
    kernel.Multiply(shape, packed.data(), x, num_rows, y);
  }
};

/// Rows of one tensor in a linear layer made of several.
struct LinearPart {
  std::string name;
  int64_t num_out = 0;
};

class TensorReader {
 public:
  enum class Pass { kCheck, kRead };

  /// Both must outlive it.
  TensorReader(const Checkpoint& checkpoint, Pass pass) : checkpoint_(&checkpoint), pass_(pass) {}

  Pass pass() const { return pass_; }

  /// A tensor of this shape, as float32. Fails as Checkpoint::Get() and CopyToF32() do.
  Status Read(const std::string& name, std::vector<int64_t> shape, std::vector<float>* out) const;
  /// The same into memory of the right size.
  Status ReadInto(const std::string& name, std::vector<int64_t> shape, std::span<float> out) const;
  /// The rows of all parts, one after another, packed for `kernel` (null in the checking pass).
  Status ReadLinear(const std::vector<LinearPart>& parts, int64_t num_in, const GemmKernel* kernel,
                    PackedLinear* out) const;

 private:
  const Checkpoint* checkpoint_;
  Pass pass_;
};

/// Packs a matrix [num_out, num_in] that is in memory.
PackedLinear PackLinear(const WeightShape& shape, std::span<const float> weight,
                        const GemmKernel& kernel);

}  // namespace steelyard
