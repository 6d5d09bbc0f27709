// The weights of a Hugging Face model folder: model.safetensors, or the shards that
// model.safetensors.index.json names.
//
// Opening maps the files and checks their headers and the index; bytes of tensors are read only
// when somebody touches them. After Open() nothing changes, so ranks may share one checkpoint, each
// reading the tensors it needs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Ok when `folder` is a folder; kNotFound or kInvalidArgument naming it otherwise.
Status RequireFolder(const std::filesystem::path& folder);

/// Move only; tensors stay valid when it is moved, and die with it.
class Checkpoint {
 public:
  /// Fails naming the folder or file: no folder, neither file in it, a shard that is missing or
  /// damaged, an index that is not of the right form, leads out of the folder, or names a tensor
  /// that its shard does not hold. As with Hugging Face, model.safetensors goes before an index,
  /// and tensors that the index does not name are ignored.
  static Result<Checkpoint> Open(const std::filesystem::path& folder);

  /// Null where there is none.
  const Tensor* Find(std::string_view name) const;

  /// The tensor `name`, whose shape must be `shape` and whose dtype CopyToF32() must know. Fails
  /// naming file, tensor, what it should be and what it is: kNotFound, kInvalidArgument (shape) or
  /// kUnimplemented (dtype).
  Result<Tensor> Get(std::string_view name, std::span<const int64_t> shape) const;

  size_t num_tensors() const { return tensors_.size(); }

 private:
  explicit Checkpoint(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Status AddSingleFile(const std::filesystem::path& path);
  Status AddShards(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const Tensor*, std::less<>> tensors_;  // into files_
};

}  // namespace steelyard
