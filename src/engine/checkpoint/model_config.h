// What config.json of a model folder says, checked and in one form for all families.
//
// The families known here: qwen3_moe, deepseek_v2, deepseek_v3. Which of them the engine can run is
// its registry's business.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Counts are at least 1 unless said otherwise. Keys that a family does not have keep the values
/// written here.
struct ModelConfig {
  std::string model_type;  // the family, as config.json writes it

  // Shape of the model.
  int64_t hidden_size = 0;              // elements of a token's hidden state
  int64_t num_hidden_layers = 0;        // dense and MoE layers together
  int64_t vocab_size = 0;               // rows of the embedding; token ids are below it
  int64_t max_position_embeddings = 0;  // longest context, in tokens
  bool tie_word_embeddings = false;     // the output head is the embedding

  // Attention.
  int64_t num_attention_heads = 0;  // query heads
  int64_t num_key_value_heads = 0;  // divides num_attention_heads
  int64_t head_dim = 0;             // elements of a head (qwen3_moe; without meaning for MLA)
  bool attention_bias = false;      // always false: true is refused
  double rope_theta = 0;            // base of the rotary frequencies
  double rms_norm_eps = 0;          // added to the mean square
  std::string hidden_act;           // always "silu"

  // Feed-forward parts.
  int64_t intermediate_size = 0;      // width of a dense layer's MLP
  int64_t moe_intermediate_size = 0;  // width of one expert
  int64_t num_experts = 0;            // routed experts in an MoE layer; 0 when the model has none
  int64_t num_experts_per_tok = 0;    // top-k of the router, at most num_experts
  int64_t n_shared_experts = 0;       // experts that every token visits; may be 0
  bool norm_topk_prob = false;        // the k router weights are scaled to sum to 1
  int64_t n_group = 1;                // groups of experts among which the router chooses first
  int64_t topk_group = 1;             // groups it keeps, at most n_group

  // Which layers are MoE layers (MoeLayers() puts this together).
  int64_t decoder_sparse_step = 1;       // qwen3_moe: every so-manieth layer
  std::vector<int64_t> mlp_only_layers;  // qwen3_moe: layers that are dense all the same
  int64_t first_k_dense_replace = 0;     // deepseek: layers at the start that are dense; may be 0
  int64_t moe_layer_freq = 1;            // deepseek: after them, layers that it divides

  std::vector<int64_t> eos_token_ids;  // any of them ends a request; may be empty; ascending
};

/// Reads config.json, and the eos ids of generation_config.json where that gives some, else of
/// config.json. Fails naming file, key and rule: a missing key, a wrong type, a number out of
/// range, parts that do not fit each other, a setting that is not supported (it is named), or
/// another `model_type` (those known are listed).
Result<ModelConfig> ReadModelConfig(const std::filesystem::path& folder);

/// The same for contents already parsed. `source` names them in messages; eos ids are
/// config.json's.
Result<ModelConfig> ParseModelConfig(const Json& config, const std::string& source);

/// Model layers (from 0, ascending) that have experts.
std::vector<int> MoeLayers(const ModelConfig& config);

}  // namespace steelyard
