#include "trace/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

#include "base/file.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

static_assert(std::endian::native == std::endian::little, "entries are kept as files hold them");

// The product, or nothing where it does not fit.
std::optional<size_t> DataBytes(const NpyHeader& header) {
  size_t num_bytes = header.type.item_bytes;
  for (const size_t extent : header.shape) {
    if (__builtin_mul_overflow(num_bytes, extent, &num_bytes)) {
      return std::nullopt;
    }
  }
  return num_bytes;
}

std::string ShapeText(std::span<const size_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

// Goes through a column-major array in row-major order.
std::vector<std::byte> FromFortranOrder(std::span<const std::byte> data, const NpyHeader& header) {
  const size_t item_bytes = header.type.item_bytes;
  const size_t num_dims = header.shape.size();
  std::vector<size_t> strides(num_dims);
  size_t stride = item_bytes;
  for (size_t d = 0; d < num_dims; ++d) {
    strides[d] = stride;
    stride *= header.shape[d];
  }
  std::vector<std::byte> rows(data.size());
  std::vector<size_t> index(num_dims);
  size_t from = 0;
  for (size_t to = 0; to < rows.size(); to += item_bytes) {
    std::copy_n(data.begin() + static_cast<ptrdiff_t>(from), item_bytes,
                rows.begin() + static_cast<ptrdiff_t>(to));
    for (size_t d = num_dims; d-- > 0;) {
      from += strides[d];
      if (++index[d] < header.shape[d]) {
        break;
      }
      from -= strides[d] * header.shape[d];
      index[d] = 0;
    }
  }
  return rows;
}

void SwapBytes(size_t unit_bytes, std::vector<std::byte>& data) {
  for (size_t at = 0; at < data.size(); at += unit_bytes) {
    const auto begin = data.begin() + static_cast<ptrdiff_t>(at);
    std::reverse(begin, begin + static_cast<ptrdiff_t>(unit_bytes));
  }
}

double HalfToDouble(uint16_t half) {
  const int exponent = half >> 10 & 0x1f;
  const int fraction = half & 0x3ff;
  double value = 0;
  if (exponent == 0x1f) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(fraction, -24);
  } else {
    value = std::ldexp(0x400 + fraction, exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

template <typename T>
T EntryAt(const std::vector<std::byte>& data, size_t i) {
  T value;
  std::memcpy(&value, data.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
std::vector<double> EntriesAs(const NpyArray& array) {
  std::vector<double> values(array.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(EntryAt<T>(array.data, i));
  }
  return values;
}

std::vector<double> HalvesOf(const NpyArray& array) {
  std::vector<double> values(array.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = HalfToDouble(EntryAt<uint16_t>(array.data, i));
  }
  return values;
}

// False for what is no character: surrogates, and what lies beyond the last one.
bool AppendUtf8(uint32_t c, std::string& text) {
  const auto tail = [&text, c](int shift) {
    text += static_cast<char>(0x80 | (c >> shift & 0x3f));
  };
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xc0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    text += static_cast<char>(0xe0 | c >> 12);
    tail(6);
    tail(0);
  } else if (c < 0x110000) {
    text += static_cast<char>(0xf0 | c >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
  return c < 0xd800 || (c >= 0xe000 && c < 0x110000);
}

template <typename T>
std::string Format(NpyType type, std::span<const size_t> shape, std::span<const T> values) {
  STEELYARD_CHECK_EQ(
      std::accumulate(shape.begin(), shape.end(), size_t{1}, std::multiplies<size_t>()),
      values.size());
  std::string file = FormatNpyHeader(type, shape);
  file.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return file;
}

}  // namespace

size_t NpyArray::size() const { return data.size() / type.item_bytes; }

Result<std::vector<double>> NpyArray::ToDoubles() const {
  const std::string name = type.ToString();
  if (name == "f2") return HalvesOf(*this);
  if (name == "f4") return EntriesAs<float>(*this);
  if (name == "f8") return EntriesAs<double>(*this);
  if (name == "i1") return EntriesAs<int8_t>(*this);
  if (name == "i2") return EntriesAs<int16_t>(*this);
  if (name == "i4") return EntriesAs<int32_t>(*this);
  if (name == "i8") return EntriesAs<int64_t>(*this);
  if (name == "u1") return EntriesAs<uint8_t>(*this);
  if (name == "u2") return EntriesAs<uint16_t>(*this);
  if (name == "u4") return EntriesAs<uint32_t>(*this);
  if (name == "u8") return EntriesAs<uint64_t>(*this);
  return InvalidArgument(fmt::format("entries of type '{}' are not numbers", name));
}

Result<std::vector<std::string>> NpyArray::ToStrings() const {
  if (type.kind != 'U') {
    return InvalidArgument(fmt::format("entries of type '{}' are not text", type.ToString()));
  }
  const size_t width = type.item_bytes / 4;
  std::vector<std::string> texts(size());
  for (size_t i = 0; i < texts.size(); ++i) {
    size_t length = width;
    while (length > 0 && EntryAt<uint32_t>(data, i * width + length - 1) == 0) {
      --length;
    }
    for (size_t k = 0; k < length; ++k) {
      if (!AppendUtf8(EntryAt<uint32_t>(data, i * width + k), texts[i])) {
        return InvalidArgument(fmt::format("entry {} holds what is no character", i));
      }
    }
  }
  return texts;
}

std::string NpyArray::ToString() const {
  return fmt::format("{} {}", type.ToString(), ShapeText(shape));
}

Result<NpyArray> ParseNpy(std::span<const std::byte> file) {
  STEELYARD_ASSIGN_OR_RETURN(const NpyHeader header, ParseNpyHeader(file));
  const std::span<const std::byte> data = file.subspan(header.size_bytes);
  const std::optional<size_t> expected = DataBytes(header);
  if (expected != data.size()) {
    return InvalidArgument(
        fmt::format("shape: {} of '{}' does not fill the {} bytes of data that are there",
                    ShapeText(header.shape), header.type.ToString(), data.size()));
  }
  NpyArray array;
  array.type = header.type;
  array.shape = header.shape;
  if (header.fortran_order) {
    array.data = FromFortranOrder(data, header);
  } else {
    array.data.assign(data.begin(), data.end());
  }
  if (header.big_endian) {
    SwapBytes(header.type.kind == 'U' ? 4 : header.type.item_bytes, array.data);
  }
  return array;
}

Result<NpyArray> ReadNpyFile(const std::filesystem::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string file, ReadFile(path));
  Result<NpyArray> array = ParseNpy(std::as_bytes(std::span(file)));
  if (!array.ok()) {
    return array.status().WithContext(path.string());
  }
  return array;
}

std::string FormatNpy(std::span<const size_t> shape, std::span<const uint32_t> values) {
  return Format({.kind = 'u', .item_bytes = 4}, shape, values);
}

std::string FormatNpy(std::span<const size_t> shape, std::span<const double> values) {
  return Format({.kind = 'f', .item_bytes = 8}, shape, values);
}

Status WriteNpyFile(const std::filesystem::path& path, std::span<const size_t> shape,
                    std::span<const uint32_t> values) {
  return WriteFileAtomically(path, FormatNpy(shape, values));
}

Status WriteNpyFile(const std::filesystem::path& path, std::span<const size_t> shape,
                    std::span<const float> values) {
  return WriteFileAtomically(path, Format({.kind = 'f', .item_bytes = 4}, shape, values));
}

}  // namespace steelyard
