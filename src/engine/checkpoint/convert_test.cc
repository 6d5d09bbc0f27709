#include "engine/checkpoint/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "engine/checkpoint/test_files.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;

Tensor MakeTensor(DType dtype, std::vector<int64_t> shape, std::string_view data) {
  return {.file = "w.safetensors",
          .name = "x",
          .dtype = dtype,
          .shape = std::move(shape),
          .bytes = AsBytes(data)};
}

TEST(CopyToF32, ReadsEachTypeExactly) {
  std::vector<float> out(3);
  const std::string f32 = BytesOf<float>({1.5F, -0.0F, 3.4e38F});
  ASSERT_TRUE(CopyToF32(MakeTensor(DType::kF32, {3}, f32), out).ok());
  EXPECT_THAT(out, ElementsAre(1.5F, -0.0F, 3.4e38F));
  EXPECT_TRUE(std::signbit(out[1]));

  const std::string bf16 = BytesOf<uint16_t>({0x3F80, 0xC040, 0x0001});
  ASSERT_TRUE(CopyToF32(MakeTensor(DType::kBF16, {3}, bf16), out).ok());
  EXPECT_THAT(out, ElementsAre(1.0F, -3.0F, std::bit_cast<float>(0x00010000U)));

  const std::string f16 = BytesOf<uint16_t>({0x3C00, 0xFBFF, 0x0001});
  ASSERT_TRUE(CopyToF32(MakeTensor(DType::kF16, {3}, f16), out).ok());
  EXPECT_THAT(out, ElementsAre(1.0F, -65504.0F, 0x1p-24F));
}

// What a half means, computed another way than by moving bits.
double HalfValue(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(CopyToF32, EveryFiniteHalfIsItsValueAndEveryOtherIsRefused) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::string data = BytesOf<uint16_t>({static_cast<uint16_t>(bits)});
    float value = 0;
    const Status status = CopyToF32(MakeTensor(DType::kF16, {1}, data), {&value, 1});
    const bool finite = (bits & 0x7C00) != 0x7C00;
    ASSERT_EQ(status.ok(), finite) << bits;
    if (finite) {
      ASSERT_EQ(static_cast<double>(value), HalfValue(static_cast<uint16_t>(bits))) << bits;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    }
  }
}

TEST(CopyToF32, ReadsDataThatIsNotAligned) {
  const std::string data = "?" + BytesOf<float>({7, 8});
  std::vector<float> out(2);
  const Tensor tensor = MakeTensor(DType::kF32, {2}, std::string_view(data).substr(1));
  ASSERT_TRUE(CopyToF32(tensor, out).ok());
  EXPECT_THAT(out, ElementsAre(7, 8));
}

TEST(CopyRowsToF32, ReadsOnlyTheRowsAskedFor) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::string data = BytesOf<float>({nan, nan, 1, 2, 3, 4, nan, nan});
  const Tensor tensor = MakeTensor(DType::kF32, {4, 1, 2}, data);
  std::vector<float> out(4);
  ASSERT_TRUE(CopyRowsToF32(tensor, 1, 2, out).ok());
  EXPECT_THAT(out, ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(CopyRowsToF32(tensor, 4, 0, {}).ok());
}

TEST(CopyToF32, NamesTheFirstWeightThatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> out(6);
  const std::string f32 = BytesOf<float>({1, 2, 3, 4, -kInfinity, kInfinity});
  EXPECT_EQ(CopyToF32(MakeTensor(DType::kF32, {2, 3}, f32), out).message(),
            "w.safetensors: tensor \"x\": element [1, 1] is -inf; weights must be finite");
  out.resize(3);
  EXPECT_EQ(CopyRowsToF32(MakeTensor(DType::kF32, {2, 3}, f32), 1, 1, out).message(),
            "w.safetensors: tensor \"x\": element [1, 1] is -inf; weights must be finite");
  const std::string bf16 = BytesOf<uint16_t>({0x7FC0, 0, 0});
  EXPECT_EQ(CopyToF32(MakeTensor(DType::kBF16, {3}, bf16), out).message(),
            "w.safetensors: tensor \"x\": element [0] is nan; weights must be finite");
}

TEST(CopyToF32, RefusesOtherTypesByName) {
  float out = 0;
  const std::string data(8, '\0');
  const Status f8 = CopyToF32(MakeTensor(DType::kF8E4M3, {1}, data.substr(0, 1)), {&out, 1});
  EXPECT_EQ(f8.code(), StatusCode::kUnimplemented);
  EXPECT_EQ(f8.message(), "w.safetensors: tensor \"x\": F8_E4M3 weights are not supported yet");
  const Status i64 = CopyToF32(MakeTensor(DType::kI64, {1}, data), {&out, 1});
  EXPECT_EQ(i64.message(), "w.safetensors: tensor \"x\": I64 weights are not supported yet");
}

TEST(CopyToF32Death, ASpanOfTheWrongSizeIsAProgrammersError) {
  const std::string data = BytesOf<float>({1, 2});
  const Tensor tensor = MakeTensor(DType::kF32, {2}, data);
  std::vector<float> out(3);
  EXPECT_DEATH((void)CopyToF32(tensor, out), "3 against 2");
  EXPECT_DEATH((void)CopyRowsToF32(tensor, 1, 3, out), "num_rows");
}

}  // namespace
}  // namespace steelyard
