#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "base/json.h"
#include "engine/checkpoint/json_field.h"

namespace steelyard {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is read in place");

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own reader
constexpr std::string_view kMetadata = "__metadata__";

struct DTypeRow {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};

// In the order of the enum.
constexpr DTypeRow kDTypes[] = {
    {DType::kBool, "BOOL", 1},      {DType::kU8, "U8", 1},          {DType::kI8, "I8", 1},
    {DType::kF8E5M2, "F8_E5M2", 1}, {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E8M0, "F8_E8M0", 1},
    {DType::kI16, "I16", 2},        {DType::kU16, "U16", 2},        {DType::kF16, "F16", 2},
    {DType::kBF16, "BF16", 2},      {DType::kI32, "I32", 4},        {DType::kU32, "U32", 4},
    {DType::kF32, "F32", 4},        {DType::kF64, "F64", 8},        {DType::kI64, "I64", 8},
    {DType::kU64, "U64", 8},        {DType::kC64, "C64", 8},
};

const DTypeRow& RowOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

Result<DType> ParseDType(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, field.String());
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) {
      return row.dtype;
    }
  }
  return field.Error(fmt::format("{} is not a dtype known here", Quoted(name)));
}

Status CheckMetadata(const JsonField& metadata) {
  STEELYARD_RETURN_IF_ERROR(metadata.RequireObject());
  for (const auto& item : metadata.value().items()) {
    STEELYARD_ASSIGN_OR_RETURN(const JsonField text, metadata.Member(item.key()));
    STEELYARD_RETURN_IF_ERROR(text.String().status());
  }
  return Status::Ok();
}

// The number of bytes of a tensor, or nothing where it does not fit an int64_t.
std::optional<int64_t> SizeOf(std::span<const int64_t> shape, DType dtype) {
  int64_t size = DTypeBytes(dtype);
  for (const int64_t extent : shape) {
    if (__builtin_mul_overflow(size, extent, &size)) {
      return std::nullopt;
    }
  }
  return size;
}

Result<Tensor> ParseTensor(const JsonField& entry, std::span<const std::byte> data) {
  Tensor tensor;
  STEELYARD_ASSIGN_OR_RETURN(const JsonField dtype, entry.Member("dtype"));
  STEELYARD_ASSIGN_OR_RETURN(tensor.dtype, ParseDType(dtype));

  STEELYARD_ASSIGN_OR_RETURN(const JsonField shape, entry.Member("shape"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> extents, shape.Items());
  for (const JsonField& extent : extents) {
    STEELYARD_ASSIGN_OR_RETURN(const int64_t value, extent.Integer(0, INT64_MAX));
    tensor.shape.push_back(value);
  }

  STEELYARD_ASSIGN_OR_RETURN(const JsonField offsets, entry.Member("data_offsets"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> ends, offsets.Items());
  if (ends.size() != 2) {
    return offsets.Error(fmt::format("must be [begin, end], but has {} entries", ends.size()));
  }
  const auto data_size = static_cast<int64_t>(data.size());
  STEELYARD_ASSIGN_OR_RETURN(const int64_t begin, ends[0].Integer(0, INT64_MAX));
  STEELYARD_ASSIGN_OR_RETURN(const int64_t end, ends[1].Integer(0, INT64_MAX));
  if (begin > end || end > data_size) {
    return offsets.Error(fmt::format("[{}, {}) is not a range of the file's {} bytes of data",
                                     begin, end, data_size));
  }
  const std::optional<int64_t> size = SizeOf(tensor.shape, tensor.dtype);
  if (!size.has_value() || *size != end - begin) {
    return entry.Error(fmt::format("shape {} of {} does not take the {} bytes of data_offsets",
                                   ShapeToString(tensor.shape), DTypeName(tensor.dtype),
                                   end - begin));
  }
  tensor.bytes = data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  return tensor;
}

// Every byte of the data must belong to exactly one tensor.
Status CheckCover(const TensorMap& tensors, std::span<const std::byte> data,
                  const std::string& file) {
  std::vector<const Tensor*> by_place;
  for (const auto& [name, tensor] : tensors) {
    by_place.push_back(&tensor);
  }
  const auto ends = [](const Tensor* tensor) {
    const std::byte* begin = tensor->bytes.data();
    return std::pair(begin, begin + tensor->bytes.size());
  };
  std::sort(by_place.begin(), by_place.end(),
            [&](const Tensor* a, const Tensor* b) { return ends(a) < ends(b); });
  const std::byte* covered = data.data();
  for (const Tensor* tensor : by_place) {
    const auto [begin, end] = ends(tensor);
    if (begin < covered) {
      return InvalidArgument(fmt::format("{}: tensor {}: its data_offsets overlap another tensor's",
                                         file, Quoted(tensor->name)));
    }
    if (begin > covered) {
      return InvalidArgument(fmt::format("{}: tensor {}: {} bytes before its data belong to none",
                                         file, Quoted(tensor->name), begin - covered));
    }
    covered = end;
  }
  const std::byte* data_end = data.data() + data.size();
  if (covered != data_end) {
    return InvalidArgument(
        fmt::format("{}: {} bytes at the end belong to no tensor", file, data_end - covered));
  }
  return Status::Ok();
}

Result<std::string_view> FindHeader(std::span<const std::byte> contents, const std::string& file) {
  if (contents.size() < kLengthBytes) {
    return InvalidArgument(
        fmt::format("{}: {} bytes are too few for a safetensors file", file, contents.size()));
  }
  uint64_t length = 0;
  std::memcpy(&length, contents.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    return InvalidArgument(fmt::format("{}: a header of {} bytes is longer than the {} allowed",
                                       file, length, kMaxHeaderBytes));
  }
  if (length > contents.size() - kLengthBytes) {
    return InvalidArgument(fmt::format("{}: the header of {} bytes goes beyond the file's {} bytes",
                                       file, length, contents.size()));
  }
  return std::string_view(reinterpret_cast<const char*>(contents.data()) + kLengthBytes, length);
}

}  // namespace

std::string_view DTypeName(DType dtype) { return RowOf(dtype).name; }

int64_t DTypeBytes(DType dtype) { return RowOf(dtype).bytes; }

std::string ShapeToString(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

Result<TensorMap> ParseSafetensors(std::span<const std::byte> contents, const std::string& file) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string_view text, FindHeader(contents, file));
  const std::string source = fmt::format("{}: header", file);
  STEELYARD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, source));
  const JsonField header(json, source);
  STEELYARD_RETURN_IF_ERROR(header.RequireObject());
  const std::span<const std::byte> data = contents.subspan(kLengthBytes + text.size());
  TensorMap tensors;
  for (const auto& item : json.items()) {
    STEELYARD_ASSIGN_OR_RETURN(const JsonField entry, header.Member(item.key()));
    if (item.key() == kMetadata) {
      STEELYARD_RETURN_IF_ERROR(CheckMetadata(entry));
      continue;
    }
    STEELYARD_ASSIGN_OR_RETURN(Tensor tensor, ParseTensor(entry, data));
    tensor.file = file;
    tensor.name = item.key();
    tensors.emplace(item.key(), std::move(tensor));
  }
  STEELYARD_RETURN_IF_ERROR(CheckCover(tensors, data, file));
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  STEELYARD_ASSIGN_OR_RETURN(TensorMap tensors, ParseSafetensors(file.bytes(), path.string()));
  return SafetensorsFile(std::move(file), std::move(tensors));
}

}  // namespace steelyard
