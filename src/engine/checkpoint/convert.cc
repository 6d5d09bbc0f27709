#include "engine/checkpoint/convert.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "engine/checkpoint/json_field.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// Elements are read through memcpy because the format aligns none of them.
template <typename T>
T Load(const std::byte* bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return value;
}

float FromBF16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float FromF16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7FFF;
  if (magnitude >= 0x7C00) {  // infinity, or NaN with its payload
    return std::bit_cast<float>(sign | 0x7F800000 | ((magnitude & 0x3FF) << 13));
  }
  // Neither form makes a subnormal float, so both are exact whatever the rounding of subnormals is
  // set to.
  const float value = magnitude < 0x400
                          ? static_cast<float>(magnitude) * 0x1p-24F
                          : std::bit_cast<float>((magnitude << 13) + ((127U - 15U) << 23));
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

void Convert(DType dtype, const std::byte* bytes, std::span<float> out) {
  switch (dtype) {
    case DType::kF32:
      if (!out.empty()) {
        std::memcpy(out.data(), bytes, out.size_bytes());
      }
      return;
    case DType::kF16:
      for (size_t i = 0; i < out.size(); ++i) {
        out[i] = FromF16(Load<uint16_t>(bytes, i));
      }
      return;
    case DType::kBF16:
      for (size_t i = 0; i < out.size(); ++i) {
        out[i] = FromBF16(Load<uint16_t>(bytes, i));
      }
      return;
    default:
      STEELYARD_CHECK(false);  // CheckConvertible() has let nothing else through
  }
}

bool IsFinite(float value) { return (std::bit_cast<uint32_t>(value) & 0x7F800000) != 0x7F800000; }

// One pass without a branch, which the compiler turns into vector code; who is to blame is looked
// for only when somebody is.
bool AllFinite(std::span<const float> values) {
  uint32_t bad = 0;
  for (const float value : values) {
    bad |= static_cast<uint32_t>(!IsFinite(value));
  }
  return bad == 0;
}

std::string IndexToString(const Tensor& tensor, int64_t flat) {
  std::vector<int64_t> index(tensor.shape.size());
  for (size_t dim = index.size(); dim-- > 0;) {
    index[dim] = flat % tensor.shape[dim];
    flat /= tensor.shape[dim];
  }
  return ShapeToString(index);
}

Status CopyElements(const Tensor& tensor, int64_t first, std::span<float> out) {
  STEELYARD_RETURN_IF_ERROR(CheckConvertible(tensor));
  Convert(tensor.dtype, tensor.bytes.data() + first * DTypeBytes(tensor.dtype), out);
  if (AllFinite(out)) {
    return Status::Ok();
  }
  size_t i = 0;
  while (IsFinite(out[i])) {
    ++i;
  }
  return InvalidArgument(fmt::format(
      "{}: tensor {}: element {} is {}; weights must be finite", tensor.file, Quoted(tensor.name),
      IndexToString(tensor, first + static_cast<int64_t>(i)), out[i]));
}

}  // namespace

Status CheckConvertible(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return Status::Ok();
    default:
      return Unimplemented(fmt::format("{}: tensor {}: {} weights are not supported yet",
                                       tensor.file, Quoted(tensor.name), DTypeName(tensor.dtype)));
  }
}

Status CopyToF32(const Tensor& tensor, std::span<float> out) {
  STEELYARD_CHECK_EQ(static_cast<int64_t>(out.size()), tensor.num_elements());
  return CopyElements(tensor, 0, out);
}

Status CopyRowsToF32(const Tensor& tensor, int64_t first_row, int64_t num_rows,
                     std::span<float> out) {
  STEELYARD_CHECK(!tensor.shape.empty());
  const int64_t rows = tensor.shape[0];
  STEELYARD_CHECK(first_row >= 0 && num_rows >= 0 && num_rows <= rows - first_row);
  const int64_t row_elements = rows == 0 ? 0 : tensor.num_elements() / rows;
  STEELYARD_CHECK_EQ(static_cast<int64_t>(out.size()), num_rows * row_elements);
  return CopyElements(tensor, first_row * row_elements, out);
}

}  // namespace steelyard
