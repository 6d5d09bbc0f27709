#include "engine/compute/self_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace steelyard {
namespace {

constexpr int kBatches[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,   12,  13,  15,  16,
                            17, 31, 33, 32, 63, 64, 65, 127, 128, 129, 255, 256, 257};
constexpr int kNumRows = 257;
constexpr size_t kPackedAlignment = 64;

/// Numbers in [-1, 1) with 24 random bits each, by the linear congruence of Knuth's MMIX.
std::vector<float> RandomRows(size_t size, uint64_t seed) {
  std::vector<float> values(size);
  uint64_t state = seed;
  for (float& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = static_cast<float>(static_cast<int32_t>(state >> 40) - (1 << 23)) / (1 << 23);
  }
  return values;
}

std::span<std::byte> AlignedPart(std::vector<std::byte>& bytes, size_t size) {
  bytes.resize(size + kPackedAlignment - 1);
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  return {bytes.data() + (kPackedAlignment - address % kPackedAlignment) % kPackedAlignment, size};
}

/// One shape under test.
struct Case {
  GemmKernel& kernel;
  WeightShape shape;
  std::vector<float> x;      // [kNumRows, num_in]
  std::vector<float> alone;  // [kNumRows, num_out], each row multiplied by itself
  std::vector<float> batch;
  std::vector<std::byte> packed_bytes;
  std::span<std::byte> packed;

  std::string Place() const {
    return fmt::format("kernel {}, weights {}x{}", kernel.name(), shape.num_out, shape.num_in);
  }
  void Multiply(int first_row, int num_rows, float* y) {
    kernel.Multiply(shape, packed.data(), &x[static_cast<size_t>(first_row) * shape.num_in],
                    num_rows, y);
  }
};

Status PackTwice(Case& c) {
  const auto weight = RandomRows(static_cast<size_t>(c.shape.num_out) * c.shape.num_in, 1);
  c.packed = AlignedPart(c.packed_bytes, c.kernel.PackedBytes(c.shape));
  std::vector<std::byte> other_bytes;
  const auto other = AlignedPart(other_bytes, c.packed.size());
  std::memset(other.data(), 0xA5, other.size());
  c.kernel.Pack(c.shape, weight, c.packed);
  c.kernel.Pack(c.shape, weight, other);
  if (c.kernel.LayoutId(c.shape) == 0) {
    return Internal(c.Place() + ": the layout has no id");
  }
  if (!std::equal(c.packed.begin(), c.packed.end(), other.begin())) {
    return Internal(c.Place() + ": packed bytes depend on what was in the memory before");
  }
  return Status::Ok();
}

Status CompareBatch(Case& c, int first_row, int num_rows) {
  const auto num_out = static_cast<size_t>(c.shape.num_out);
  c.Multiply(first_row, num_rows, c.batch.data());
  for (int row = 0; row < num_rows; ++row) {
    const float* expected = &c.alone[(first_row + row) * num_out];
    if (std::memcmp(&c.batch[row * num_out], expected, num_out * sizeof(float)) != 0) {
      return Internal(fmt::format("{}: row {} of a batch of {} has other bits than alone",
                                  c.Place(), row, num_rows));
    }
  }
  return Status::Ok();
}

Status CheckShape(GemmKernel& kernel, const WeightShape& shape) {
  const size_t output_floats = static_cast<size_t>(kNumRows) * shape.num_out;
  Case c{.kernel = kernel,
         .shape = shape,
         .x = RandomRows(static_cast<size_t>(kNumRows) * shape.num_in, 2),
         .alone = std::vector<float>(output_floats),
         .batch = std::vector<float>(output_floats),
         .packed_bytes = {},
         .packed = {}};
  STEELYARD_RETURN_IF_ERROR(kernel.Prepare(shape, kNumRows).WithContext(c.Place()));
  STEELYARD_RETURN_IF_ERROR(PackTwice(c));
  for (int row = 0; row < kNumRows; ++row) {
    c.Multiply(row, 1, &c.alone[static_cast<size_t>(row) * shape.num_out]);
  }
  for (const int num_rows : kBatches) {
    // Batches begin at different rows, so that a row is met at many positions.
    const int first_row = num_rows * 7 % (kNumRows - num_rows + 1);
    STEELYARD_RETURN_IF_ERROR(CompareBatch(c, first_row, num_rows));
  }
  return Status::Ok();
}

}  // namespace

Status BatchInvarianceSelfCheck(GemmKernel& kernel, std::span<const WeightShape> shapes) {
  for (size_t i = 0; i < shapes.size(); ++i) {
    const bool seen =
        std::find(shapes.begin(), shapes.begin() + i, shapes[i]) != shapes.begin() + i;
    if (!seen) {
      STEELYARD_RETURN_IF_ERROR(CheckShape(kernel, shapes[i]));
    }
  }
  return Status::Ok();
}

}  // namespace steelyard
