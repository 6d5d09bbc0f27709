#include "engine/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "engine/checkpoint/convert.h"
#include "engine/checkpoint/json_field.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

bool Exists(const fs::path& path) {
  std::error_code error;  // what cannot be looked at is not there
  return fs::exists(path, error);
}

// An index comes from a stranger and must not lead to files elsewhere.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Shard file name -> the tensors that the index says are in it.
Result<std::map<std::string, std::vector<std::string>>> ReadIndex(const fs::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  const JsonField index(json, path.string());
  STEELYARD_ASSIGN_OR_RETURN(const JsonField weight_map, index.Member("weight_map"));
  STEELYARD_RETURN_IF_ERROR(weight_map.RequireObject());
  if (weight_map.value().empty()) {
    return weight_map.Error("names no tensor");
  }
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& item : weight_map.value().items()) {
    STEELYARD_ASSIGN_OR_RETURN(const JsonField entry, weight_map.Member(item.key()));
    STEELYARD_ASSIGN_OR_RETURN(const std::string shard, entry.String());
    if (!IsPlainFileName(shard)) {
      return entry.Error(fmt::format("{} is not the name of a file in the folder", Quoted(shard)));
    }
    shards[shard].push_back(item.key());
  }
  return shards;
}

}  // namespace

Status RequireFolder(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) {
    return NotFound(fmt::format("{}: there is no such folder", folder.string()));
  }
  if (!fs::is_directory(status)) {
    return InvalidArgument(
        fmt::format("{}: must be a model folder, but is a file", folder.string()));
  }
  return Status::Ok();
}

Result<Checkpoint> Checkpoint::Open(const fs::path& folder) {
  STEELYARD_RETURN_IF_ERROR(RequireFolder(folder));
  Checkpoint checkpoint(folder);
  if (const fs::path single = folder / kSingleFile; Exists(single)) {
    STEELYARD_RETURN_IF_ERROR(checkpoint.AddSingleFile(single));
  } else if (const fs::path index = folder / kIndexFile; Exists(index)) {
    STEELYARD_RETURN_IF_ERROR(checkpoint.AddShards(index));
  } else {
    return NotFound(
        fmt::format("{}: holds neither {} nor {}", folder.string(), kSingleFile, kIndexFile));
  }
  return checkpoint;
}

Status Checkpoint::AddSingleFile(const fs::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  files_.push_back(std::move(file));
  for (const auto& [name, tensor] : files_.back().tensors()) {
    tensors_.emplace(name, &tensor);
  }
  return Status::Ok();
}

Status Checkpoint::AddShards(const fs::path& index) {
  STEELYARD_ASSIGN_OR_RETURN(const auto shards, ReadIndex(index));
  for (const auto& shard : shards) {
    const fs::path path = folder_ / shard.first;
    if (!Exists(path)) {
      return NotFound(fmt::format("{}: weight_map: shard {} is not in the folder", index.string(),
                                  Quoted(shard.first)));
    }
    STEELYARD_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
    files_.push_back(std::move(file));
    const TensorMap& held = files_.back().tensors();
    for (const std::string& name : shard.second) {
      const auto found = held.find(name);
      if (found == held.end()) {
        return InvalidArgument(fmt::format("{}: weight_map: tensor {} is not in {}", index.string(),
                                           Quoted(name), Quoted(shard.first)));
      }
      tensors_.emplace(name, &found->second);
    }
  }
  return Status::Ok();
}

const Tensor* Checkpoint::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

Result<Tensor> Checkpoint::Get(std::string_view name, std::span<const int64_t> shape) const {
  const Tensor* tensor = Find(name);
  if (tensor == nullptr) {
    return NotFound(
        fmt::format("{}: the checkpoint holds no tensor {}", folder_.string(), Quoted(name)));
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    return InvalidArgument(fmt::format("{}: tensor {}: shape must be {}, but is {}", tensor->file,
                                       Quoted(name), ShapeToString(shape),
                                       ShapeToString(tensor->shape)));
  }
  STEELYARD_RETURN_IF_ERROR(CheckConvertible(*tensor));
  return *tensor;
}

}  // namespace steelyard
