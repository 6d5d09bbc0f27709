#include "engine/compute/panel_kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "base/test_scale.h"
#include "engine/compute/test_data.h"

namespace steelyard {
namespace {

class PanelKernelTest : public testing::TestWithParam<std::tuple<Isa, ComputeType>> {
 protected:
  void SetUp() override { kernel_ = MakePanelKernel(type(), std::get<0>(GetParam())); }
  static ComputeType type() { return std::get<1>(GetParam()); }

  std::unique_ptr<GemmKernel> kernel_;
};

TEST_P(PanelKernelTest, MultipliesTheWorkedExample) {
  // w is [[1, 2], [3, 4], [5, 6]]; x has the rows (1, 10) and (0.5, -1).
  const WeightShape shape{.num_out = 3, .num_in = 2};
  AlignedBytes packed = PackWeight(*kernel_, shape, std::vector<float>{1, 2, 3, 4, 5, 6});
  ASSERT_TRUE(kernel_->Prepare(shape, 2).ok());
  std::vector<float> y(6);
  const std::vector<float> x{1, 10, 0.5F, -1};
  kernel_->Multiply(shape, packed.span().data(), x.data(), 2, y.data());
  EXPECT_THAT(y, testing::ElementsAre(21, 43, 65, -1.5F, -2.5F, -3.5F));
}

TEST_P(PanelKernelTest, AgreesWithADoubleReferenceForOddShapes) {
  for (int seed = 0; seed < Scaled(60); ++seed) {
    std::mt19937 random(seed);
    const WeightShape shape{.num_out = static_cast<int>(random() % 100) + 1,
                            .num_in = static_cast<int>(random() % 200) + 1};
    const int num_rows = static_cast<int>(random() % 20);
    const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, seed);
    const auto x = RandomFloats(static_cast<size_t>(num_rows) * shape.num_in, seed + 1000);
    AlignedBytes packed = PackWeight(*kernel_, shape, weight);
    ASSERT_TRUE(kernel_->Prepare(shape, num_rows).ok());
    std::vector<float> y(static_cast<size_t>(num_rows) * shape.num_out);
    kernel_->Multiply(shape, packed.span().data(), x.data(), num_rows, y.data());
    const auto expected = ReferenceProduct(type(), shape, weight, x, num_rows);
    for (size_t i = 0; i < y.size(); ++i) {
      // Terms are below 1; each of num_in additions errs by at most half a unit of the sum.
      ASSERT_NEAR(y[i], expected[i], 1e-6 * shape.num_in) << "seed " << seed << " output " << i;
    }
  }
}

TEST_P(PanelKernelTest, ARowHasTheSameBitsInEveryBatchOf1To300) {
  for (const WeightShape shape : {WeightShape{.num_out = 72, .num_in = 80}, {31, 7}, {128, 64}}) {
    constexpr int kMaxRows = 300;
    const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
    const auto x = RandomFloats(static_cast<size_t>(2 * kMaxRows) * shape.num_in, 2);
    AlignedBytes packed = PackWeight(*kernel_, shape, weight);
    ASSERT_TRUE(kernel_->Prepare(shape, kMaxRows).ok());
    std::vector<float> alone(static_cast<size_t>(2 * kMaxRows) * shape.num_out);
    for (int row = 0; row < 2 * kMaxRows; ++row) {
      kernel_->Multiply(shape, packed.span().data(), &x[row * shape.num_in], 1,
                        &alone[row * shape.num_out]);
    }
    std::vector<float> y(static_cast<size_t>(kMaxRows) * shape.num_out);
    for (int num_rows = 1; num_rows <= kMaxRows; ++num_rows) {
      const int first = num_rows * 7 % kMaxRows;  // so that rows change their position
      kernel_->Multiply(shape, packed.span().data(), &x[first * shape.num_in], num_rows, y.data());
      const size_t size = static_cast<size_t>(num_rows) * shape.num_out;
      ASSERT_TRUE(SameBits({y.data(), size}, {&alone[first * shape.num_out], size}))
          << num_rows << " rows from " << first;
    }
  }
}

TEST_P(PanelKernelTest, APassOfWideRowsHasTheSameBitsToo) {
  const WeightShape shape{.num_out = 17, .num_in = 4096};
  constexpr int kRows = 61;  // more than a pass holds at this width
  const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
  const auto x = RandomFloats(static_cast<size_t>(kRows) * shape.num_in, 2);
  AlignedBytes packed = PackWeight(*kernel_, shape, weight);
  ASSERT_TRUE(kernel_->Prepare(shape, kRows).ok());
  std::vector<float> together(static_cast<size_t>(kRows) * shape.num_out);
  std::vector<float> alone(together.size());
  kernel_->Multiply(shape, packed.span().data(), x.data(), kRows, together.data());
  for (int row = 0; row < kRows; ++row) {
    kernel_->Multiply(shape, packed.span().data(), &x[row * shape.num_in], 1,
                      &alone[row * shape.num_out]);
  }
  EXPECT_TRUE(SameBits(together, alone));
}

TEST_P(PanelKernelTest, HasNoBytesBeyondPackedBytesThatDependOnWhatWasThere) {
  const WeightShape shape{.num_out = 5, .num_in = 3};
  const auto weight = RandomFloats(15, 3);
  AlignedBytes a(kernel_->PackedBytes(shape));
  AlignedBytes b(kernel_->PackedBytes(shape));
  std::fill(b.span().begin(), b.span().end(), std::byte{0xAB});
  kernel_->Pack(shape, weight, a.span());
  kernel_->Pack(shape, weight, b.span());
  EXPECT_TRUE(std::equal(a.span().begin(), a.span().end(), b.span().begin()));
}

std::string ParamName(const testing::TestParamInfo<std::tuple<Isa, ComputeType>>& test) {
  const char* isas[] = {"Portable", "Avx2", "Avx512"};
  return std::string(isas[static_cast<int>(std::get<0>(test.param))]) +
         (std::get<1>(test.param) == ComputeType::kF32 ? "F32" : "Bf16");
}

std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

INSTANTIATE_TEST_SUITE_P(All, PanelKernelTest,
                         testing::Combine(testing::ValuesIn(SupportedIsas()),
                                          testing::Values(ComputeType::kF32, ComputeType::kBf16)),
                         ParamName);

TEST(PanelLayout, IsOneForAllInstructionSets) {
  const WeightShape shape{.num_out = 40, .num_in = 9};
  const auto weight = RandomFloats(360, 4);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBf16}) {
    const auto portable = MakePanelKernel(type, Isa::kPortable);
    const auto best = MakePanelKernel(type, BestIsa());
    EXPECT_EQ(portable->LayoutId(shape), best->LayoutId(shape));
    AlignedBytes a = PackWeight(*portable, shape, weight);
    AlignedBytes b = PackWeight(*best, shape, weight);
    EXPECT_TRUE(std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end()));
  }
}

TEST(PanelLayout, IdDiffersByTypeAndShape) {
  const auto f32 = MakePanelKernel(ComputeType::kF32, Isa::kPortable);
  const auto bf16 = MakePanelKernel(ComputeType::kBf16, Isa::kPortable);
  const uint64_t id = f32->LayoutId({.num_out = 64, .num_in = 128});
  EXPECT_NE(id, 0U);
  EXPECT_NE(id, bf16->LayoutId({.num_out = 64, .num_in = 128}));
  EXPECT_NE(id, f32->LayoutId({.num_out = 128, .num_in = 64}));
  EXPECT_NE(id, f32->LayoutId({.num_out = 64, .num_in = 129}));
}

TEST(PanelKernel, WiderInstructionSetsGiveTheBitsOfAvx2) {
  if (!IsaSupported(Isa::kAvx512)) {
    GTEST_SKIP() << "this CPU lacks AVX-512";
  }
  const WeightShape shape{.num_out = 50, .num_in = 77};
  const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 5);
  const auto x = RandomFloats(static_cast<size_t>(13) * shape.num_in, 6);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBf16}) {
    std::vector<std::vector<float>> results;
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      const auto kernel = MakePanelKernel(type, isa);
      AlignedBytes packed = PackWeight(*kernel, shape, weight);
      ASSERT_TRUE(kernel->Prepare(shape, 13).ok());
      results.emplace_back(static_cast<size_t>(13) * shape.num_out);
      kernel->Multiply(shape, packed.span().data(), x.data(), 13, results.back().data());
    }
    EXPECT_TRUE(SameBits(results[0], results[1]));
  }
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(RoundToBf16(1.0F), 1.0F);
  EXPECT_EQ(RoundToBf16(1.0F + 1.0F / 256), 1.0F);              // a tie: down to even
  EXPECT_EQ(RoundToBf16(1.0F + 3.0F / 256), 1.0F + 1.0F / 64);  // a tie: up to even
  EXPECT_EQ(RoundToBf16(1.0F + 1.0F / 256 + 1e-6F), 1.0F + 1.0F / 128);
  EXPECT_TRUE(std::signbit(RoundToBf16(-0.0F)));
  EXPECT_EQ(RoundToBf16(INFINITY), INFINITY);
  EXPECT_EQ(RoundToBf16(3.4e38F), INFINITY);
  EXPECT_TRUE(std::isnan(RoundToBf16(std::bit_cast<float>(0x7F800001U))));
  EXPECT_EQ(Bf16Bits(-2.0F), 0xC000);
}

}  // namespace
}  // namespace steelyard
