// Reads one .safetensors file: 8 bytes that give the length of a JSON header, the header (name ->
// dtype, shape, byte range), the data. The file is mapped, so that only the tensors that somebody
// reads are ever loaded.
//
// A file is refused whole when any part of it contradicts another; what is handed out can be read
// without further checks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "steelyard/base/status.h"

namespace steelyard {

enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kC64,
};

/// As the format writes it: "BF16".
std::string_view DTypeName(DType dtype);
int64_t DTypeBytes(DType dtype);

/// A view of one tensor; the file that it lies in must outlive it.
struct Tensor {
  std::string file;  // for messages
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;        // each >= 0; none for a scalar
  std::span<const std::byte> bytes;  // row-major, little-endian; not aligned to the element size

  int64_t num_elements() const { return static_cast<int64_t>(bytes.size()) / DTypeBytes(dtype); }
};

/// "[4096, 128]".
std::string ShapeToString(std::span<const int64_t> shape);

using TensorMap = std::map<std::string, Tensor, std::less<>>;

/// The tensors of a file with the given contents; `file` names it in messages. Fails with
/// kInvalidArgument, naming the file, the tensor and the rule, when the header is longer than the
/// file or than 100 MB or is no JSON object of the right form; a name stands in it twice; a dtype
/// is unknown; a byte range is backwards, outside the data, not as long as shape and dtype say, or
/// overlaps another; or bytes belong to no tensor. `contents` must outlive the result.
Result<TensorMap> ParseSafetensors(std::span<const std::byte> contents, const std::string& file);

/// Move only. The tensors stay valid when the object is moved.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::filesystem::path& path);

  const TensorMap& tensors() const { return tensors_; }

 private:
  SafetensorsFile(MappedFile file, TensorMap tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)) {}

  MappedFile file_;
  TensorMap tensors_;
};

}  // namespace steelyard
