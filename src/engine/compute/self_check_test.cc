#include "engine/compute/self_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "engine/compute/panel_kernel.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

/// Weights as they come; one fault of choice.
class FakeKernel final : public GemmKernel {
 public:
  enum class Fault {
    kNone,
    kOrderDependsOnBatch,
    kPositionMatters,
    kDirtyPacking,
    kNoId,
    kPrepare
  };

  explicit FakeKernel(Fault fault) : fault_(fault) {}

  std::string_view name() const override { return "fake"; }
  ComputeType type() const override { return ComputeType::kF32; }
  uint64_t LayoutId(const WeightShape&) const override { return fault_ == Fault::kNoId ? 0 : 1; }
  size_t PackedBytes(const WeightShape& shape) const override {
    return static_cast<size_t>(shape.num_out) * shape.num_in * sizeof(float) + 64;
  }
  void Pack(const WeightShape&, std::span<const float> weight,
            std::span<std::byte> packed) const override {
    std::memcpy(packed.data(), weight.data(), weight.size_bytes());
    if (fault_ != Fault::kDirtyPacking) {
      std::memset(packed.data() + weight.size_bytes(), 0, packed.size() - weight.size_bytes());
    }
  }
  Status Prepare(const WeightShape&, int) override {
    return fault_ == Fault::kPrepare ? Unimplemented("no such shape") : Status::Ok();
  }
  void Multiply(const WeightShape& shape, const std::byte* packed, const float* x, int num_rows,
                float* y) override {
    const auto* weight = reinterpret_cast<const float*>(packed);
    for (int row = 0; row < num_rows; ++row) {
      const bool backwards = (fault_ == Fault::kOrderDependsOnBatch && num_rows >= 128) ||
                             (fault_ == Fault::kPositionMatters && row == 5);
      for (int o = 0; o < shape.num_out; ++o) {
        float sum = 0;
        for (int k = 0; k < shape.num_in; ++k) {
          const int i = backwards ? shape.num_in - 1 - k : k;
          sum += x[row * shape.num_in + i] * weight[o * shape.num_in + i];
        }
        y[row * shape.num_out + o] = sum;
      }
    }
  }

 private:
  Fault fault_;
};

TEST(BatchInvarianceSelfCheck, FindsEveryFault) {
  using Fault = FakeKernel::Fault;
  const struct {
    Fault fault;
    const char* message;
  } rows[] = {
      {Fault::kOrderDependsOnBatch,
       "kernel fake, weights 8x32: row 0 of a batch of 128 has other bits than alone"},
      {Fault::kPositionMatters,
       "kernel fake, weights 8x32: row 5 of a batch of 6 has other bits than alone"},
      {Fault::kDirtyPacking,
       "kernel fake, weights 8x32: packed bytes depend on what was in the memory before"},
      {Fault::kNoId, "kernel fake, weights 8x32: the layout has no id"},
      {Fault::kPrepare, "kernel fake, weights 8x32: no such shape"},
  };
  const WeightShape shapes[] = {{.num_out = 8, .num_in = 32}};
  for (const auto& row : rows) {
    FakeKernel kernel(row.fault);
    EXPECT_EQ(BatchInvarianceSelfCheck(kernel, shapes).message(), row.message);
  }
  FakeKernel sound(Fault::kNone);
  EXPECT_TRUE(BatchInvarianceSelfCheck(sound, shapes).ok());
}

TEST(BatchInvarianceSelfCheck, LooksAtEveryShape) {
  // One input: no order to get wrong. The second shape shows the fault.
  const WeightShape shapes[] = {{.num_out = 8, .num_in = 1}, {.num_out = 3, .num_in = 40}};
  FakeKernel kernel(FakeKernel::Fault::kOrderDependsOnBatch);
  EXPECT_THAT(BatchInvarianceSelfCheck(kernel, shapes).message(), HasSubstr("weights 3x40"));
}

TEST(MakeGemmKernel, GivesAKernelThatPassesTheSelfCheck) {
  const WeightShape shapes[] = {{.num_out = 128, .num_in = 128},
                                {.num_out = 128, .num_in = 64},
                                {.num_out = 32, .num_in = 128}};
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBf16}) {
    auto kernel = MakeGemmKernel(type, shapes);
    ASSERT_TRUE(kernel.ok()) << kernel.status().ToString();
    EXPECT_EQ((*kernel)->type(), type);
    EXPECT_TRUE(BatchInvarianceSelfCheck(**kernel, shapes).ok());
  }
}

TEST(MakeGemmKernel, TakesOurOwnKernelWhereOneDnnHasNoneForFixedRows) {
  if (IsaSupported(Isa::kAvx512)) {
    GTEST_SKIP() << "this CPU has AVX-512, for which oneDNN has kernels for fixed rows";
  }
  const WeightShape shapes[] = {{.num_out = 16, .num_in = 16}};
  auto kernel = MakeGemmKernel(ComputeType::kBf16, shapes);
  ASSERT_TRUE(kernel.ok()) << kernel.status().ToString();
  EXPECT_EQ((*kernel)->name(), MakePanelKernel(ComputeType::kBf16, BestIsa())->name());
}

}  // namespace
}  // namespace steelyard
