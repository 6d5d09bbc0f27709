// The family "qwen3_moe": grouped-query attention with normalised queries and keys, rotary
// positions, a softmax router over experts without groups, dense layers where decoder_sparse_step
// and mlp_only_layers say so.
#pragma once

#include <memory>

#include "engine/models/model.h"

namespace steelyard {

/// Loads what all ranks share: everything but the experts. Fails naming file and tensor when one is
/// missing, has another shape or dtype than config.json says (before memory is taken for any), or
/// is not finite. `checkpoint` must outlive the model, which reads experts from it in MakeRank().
/// Requires: at least one MoE layer.
Result<std::unique_ptr<Model>> LoadQwen3Moe(const Checkpoint& checkpoint, const ModelConfig& config,
                                            const ModelOptions& options);

}  // namespace steelyard
