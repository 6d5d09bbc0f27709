// A model folder, opened and checked as far as that goes without reading weights.
#pragma once

#include <filesystem>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/models/registry.h"
#include "engine/requests/requests.h"
#include "engine/tokenizer/tokenizer.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Move only; threads may share one.
struct ModelFiles {
  /// Fails naming file, place and rule; also when the family's engine is not built.
  static Result<ModelFiles> Open(const std::filesystem::path& folder);

  /// What requests must keep to.
  RequestLimits limits() const { return {config.vocab_size, config.max_position_embeddings}; }
  int num_moe_layers() const { return static_cast<int>(family->moe_layers(config).size()); }

  std::filesystem::path folder;
  ModelConfig config;
  const ModelFamily* family;
  Tokenizer tokenizer;
  Checkpoint checkpoint;
};

}  // namespace steelyard
