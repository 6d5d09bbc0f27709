// The model families, by `model_type`: which of a model's layers are MoE layers, and how to load
// it. A family is one file and one row of the table in registry.cc.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/models/model.h"

namespace steelyard {

struct ModelFamily {
  std::string_view model_type;
  /// Model layers that have experts, from 0, ascending.
  std::vector<int> (*moe_layers)(const ModelConfig& config);
  /// Null where only the layers are known so far. `checkpoint` must outlive the model.
  Result<std::unique_ptr<Model>> (*load)(const Checkpoint& checkpoint, const ModelConfig& config,
                                         const ModelOptions& options);
};

/// Fails with kUnimplemented and the list of those supported when the type is unknown.
Result<const ModelFamily*> FindFamily(std::string_view model_type);

/// The same, and fails by name when the family's engine is not built yet.
Result<const ModelFamily*> FindFamilyWithEngine(std::string_view model_type);

}  // namespace steelyard
