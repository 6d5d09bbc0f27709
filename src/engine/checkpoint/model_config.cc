#include "engine/checkpoint/model_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <system_error>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/json_field.h"

namespace steelyard {
namespace {

constexpr std::string_view kQwen3Moe = "qwen3_moe";
constexpr std::string_view kDeepseekV3 = "deepseek_v3";
constexpr std::string_view kFamilies[] = {kQwen3Moe, "deepseek_v2", kDeepseekV3};

// The bounds are far above any model and only keep products of them inside an int64_t.
struct IntegerKey {
  const char* key;
  int64_t ModelConfig::*member;
  int64_t min;
  int64_t max;
  std::optional<int64_t> absent;  // what a missing key or null means; nothing: it must be there
};

constexpr IntegerKey kCommonIntegers[] = {
    {"hidden_size", &ModelConfig::hidden_size, 1, 1 << 20, {}},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers, 1, 1 << 12, {}},
    {"vocab_size", &ModelConfig::vocab_size, 1, 1 << 24, {}},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, 1, 1 << 26, {}},
    {"num_attention_heads", &ModelConfig::num_attention_heads, 1, 1 << 14, {}},
    {"intermediate_size", &ModelConfig::intermediate_size, 1, 1 << 22, {}},
    {"moe_intermediate_size", &ModelConfig::moe_intermediate_size, 1, 1 << 22, {}},
};

constexpr int64_t kMaxExperts = 1 << 16;

constexpr IntegerKey kQwen3MoeIntegers[] = {
    {"num_experts", &ModelConfig::num_experts, 0, kMaxExperts, {}},
    {"num_experts_per_tok", &ModelConfig::num_experts_per_tok, 1, kMaxExperts, {}},
    {"decoder_sparse_step", &ModelConfig::decoder_sparse_step, 1, 1 << 12, 1},
};

constexpr IntegerKey kDeepseekIntegers[] = {
    {"n_routed_experts", &ModelConfig::num_experts, 0, kMaxExperts, {}},
    {"num_experts_per_tok", &ModelConfig::num_experts_per_tok, 1, kMaxExperts, {}},
    {"n_shared_experts", &ModelConfig::n_shared_experts, 0, kMaxExperts, 0},
    {"n_group", &ModelConfig::n_group, 1, kMaxExperts, 1},
    {"topk_group", &ModelConfig::topk_group, 1, kMaxExperts, 1},
    {"first_k_dense_replace", &ModelConfig::first_k_dense_replace, 0, 1 << 12, 0},
    {"moe_layer_freq", &ModelConfig::moe_layer_freq, 1, 1 << 12, 1},
};

struct BooleanKey {
  const char* key;
  bool ModelConfig::*member;
};

constexpr BooleanKey kBooleans[] = {
    // all false where they are absent
    {"tie_word_embeddings", &ModelConfig::tie_word_embeddings},
    {"norm_topk_prob", &ModelConfig::norm_topk_prob},
    {"attention_bias", &ModelConfig::attention_bias},
};

Status ReadIntegers(const JsonField& root, std::span<const IntegerKey> keys, ModelConfig* config) {
  for (const IntegerKey& row : keys) {
    STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> field, root.Optional(row.key));
    if (field.has_value()) {
      STEELYARD_ASSIGN_OR_RETURN(config->*row.member, field->Integer(row.min, row.max));
    } else if (row.absent.has_value()) {
      config->*row.member = *row.absent;
    } else {
      return root.ErrorAt(row.key, "is missing");
    }
  }
  return Status::Ok();
}

Status ReadBooleans(const JsonField& root, ModelConfig* config) {
  for (const BooleanKey& row : kBooleans) {
    STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> field, root.Optional(row.key));
    if (field.has_value()) {
      STEELYARD_ASSIGN_OR_RETURN(config->*row.member, field->Boolean());
    }
  }
  return Status::Ok();
}

// An optional integer whose meaning when absent is another value of the config.
Status ReadIntegerOr(const JsonField& root, const char* key, int64_t max, int64_t absent,
                     int64_t* value) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> field, root.Optional(key));
  *value = absent;
  if (field.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(*value, field->Integer(1, max));
  }
  return Status::Ok();
}

Status ReadHeads(const JsonField& root, ModelConfig* config) {
  const int64_t heads = config->num_attention_heads;
  STEELYARD_RETURN_IF_ERROR(
      ReadIntegerOr(root, "num_key_value_heads", 1 << 14, heads, &config->num_key_value_heads));
  if (heads % config->num_key_value_heads != 0) {
    return root.ErrorAt("num_key_value_heads",
                        fmt::format("{} does not divide num_attention_heads, {}",
                                    config->num_key_value_heads, heads));
  }
  if (config->model_type != kQwen3Moe) {
    return Status::Ok();
  }
  STEELYARD_RETURN_IF_ERROR(
      ReadIntegerOr(root, "head_dim", 1 << 14, config->hidden_size / heads, &config->head_dim));
  if (config->head_dim < 2 || config->head_dim % 2 != 0) {
    return root.ErrorAt("head_dim",
                        fmt::format("must be even and at least 2, but is {}", config->head_dim));
  }
  return Status::Ok();
}

// Where `rope` scales positions, it says so under one of two names.
Status CheckPlainRope(const JsonField& rope) {
  for (const char* key : {"rope_type", "type"}) {
    STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> type, rope.Optional(key));
    if (type.has_value()) {
      STEELYARD_ASSIGN_OR_RETURN(const std::string name, type->String());
      return name == "default" ? Status::Ok()
                               : rope.Error(fmt::format("{} is not supported", Quoted(name)));
    }
  }
  return rope.Error("scaled positions are not supported");
}

// Recent exporters write rope_parameters {rope_type, rope_theta} in place of rope_theta and
// rope_scaling.
Status ReadRope(const JsonField& root, ModelConfig* config) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> scaling, root.Optional("rope_scaling"));
  if (scaling.has_value()) {
    STEELYARD_RETURN_IF_ERROR(CheckPlainRope(*scaling));
  }
  STEELYARD_ASSIGN_OR_RETURN(std::optional<JsonField> theta, root.Optional("rope_theta"));
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> parameters,
                             root.Optional("rope_parameters"));
  if (parameters.has_value()) {
    STEELYARD_RETURN_IF_ERROR(CheckPlainRope(*parameters));
    if (!theta.has_value()) {
      STEELYARD_ASSIGN_OR_RETURN(theta, parameters->Optional("rope_theta"));
    }
  }
  if (!theta.has_value()) {
    return root.ErrorAt("rope_theta", "is missing");
  }
  STEELYARD_ASSIGN_OR_RETURN(config->rope_theta, theta->Number(1, 1e12));
  return Status::Ok();
}

Status CheckSupported(const JsonField& root, const ModelConfig& config) {
  if (config.hidden_act != "silu") {
    return root.ErrorAt("hidden_act", fmt::format("{} is not supported; supported: \"silu\"",
                                                  Quoted(config.hidden_act)));
  }
  if (config.attention_bias) {
    return root.ErrorAt("attention_bias", "true is not supported");
  }
  STEELYARD_ASSIGN_OR_RETURN(const auto sliding, root.Optional("use_sliding_window"));
  if (sliding.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(const bool use_sliding_window, sliding->Boolean());
    if (use_sliding_window) {
      return root.ErrorAt("use_sliding_window", "a sliding window is not supported");
    }
  }
  STEELYARD_ASSIGN_OR_RETURN(const auto quantization, root.Optional("quantization_config"));
  if (quantization.has_value()) {
    return quantization->Error("quantised weights are not supported yet");
  }
  return Status::Ok();
}

Status CheckExperts(const JsonField& root, const ModelConfig& config) {
  if (config.num_experts == 0) {
    return Status::Ok();
  }
  if (config.num_experts % config.n_group != 0) {
    return root.ErrorAt("n_group", fmt::format("{} does not divide the {} experts", config.n_group,
                                               config.num_experts));
  }
  if (config.topk_group > config.n_group) {
    return root.ErrorAt("topk_group", fmt::format("{} is more than n_group, {}", config.topk_group,
                                                  config.n_group));
  }
  const int64_t choice = config.num_experts / config.n_group * config.topk_group;
  if (config.num_experts_per_tok > choice) {
    return root.ErrorAt("num_experts_per_tok",
                        fmt::format("{} is more than the {} experts to choose from",
                                    config.num_experts_per_tok, choice));
  }
  return Status::Ok();
}

Status ReadMlpOnlyLayers(const JsonField& root, ModelConfig* config) {
  STEELYARD_ASSIGN_OR_RETURN(const auto field, root.Optional("mlp_only_layers"));
  if (!field.has_value()) {
    return Status::Ok();
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> layers, field->Items());
  for (const JsonField& layer : layers) {
    STEELYARD_ASSIGN_OR_RETURN(const int64_t index,
                               layer.Integer(0, config->num_hidden_layers - 1));
    config->mlp_only_layers.push_back(index);
  }
  return Status::Ok();
}

// One id, a list of them, or nothing where the key is absent or null.
Result<std::vector<int64_t>> ReadEosIds(const JsonField& root, int64_t vocab_size) {
  std::vector<int64_t> ids;
  STEELYARD_ASSIGN_OR_RETURN(const auto field, root.Optional("eos_token_id"));
  if (!field.has_value()) {
    return ids;
  }
  std::vector<JsonField> entries = {*field};
  if (field->value().is_array()) {
    STEELYARD_ASSIGN_OR_RETURN(entries, field->Items());
  }
  for (const JsonField& entry : entries) {
    STEELYARD_ASSIGN_OR_RETURN(const int64_t id, entry.Integer(0, vocab_size - 1));
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Status ReadModelType(const JsonField& root, ModelConfig* config) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField field, root.Member("model_type"));
  STEELYARD_ASSIGN_OR_RETURN(config->model_type, field.String());
  std::string known;
  for (const std::string_view family : kFamilies) {
    if (family == config->model_type) {
      return Status::Ok();
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", family);
  }
  return root.Error(fmt::format("model_type {} is not supported; supported: {}",
                                Quoted(config->model_type), known));
}

// Where exporters leave these out they mean the published model's own values, which are not those
// of the other family; so they are not guessed at.
Status RequireDeepseekV3Keys(const JsonField& root) {
  for (const char* key :
       {"n_shared_experts", "n_group", "topk_group", "first_k_dense_replace", "norm_topk_prob"}) {
    STEELYARD_RETURN_IF_ERROR(root.Member(key).status());
  }
  return Status::Ok();
}

Status ReadScalars(const JsonField& root, ModelConfig* config) {
  if (config->model_type == kDeepseekV3) {
    STEELYARD_RETURN_IF_ERROR(RequireDeepseekV3Keys(root));
  }
  STEELYARD_RETURN_IF_ERROR(ReadIntegers(root, kCommonIntegers, config));
  STEELYARD_RETURN_IF_ERROR(config->model_type == kQwen3Moe
                                ? ReadIntegers(root, kQwen3MoeIntegers, config)
                                : ReadIntegers(root, kDeepseekIntegers, config));
  STEELYARD_RETURN_IF_ERROR(ReadBooleans(root, config));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField eps, root.Member("rms_norm_eps"));
  STEELYARD_ASSIGN_OR_RETURN(config->rms_norm_eps, eps.Number(0, 1));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField act, root.Member("hidden_act"));
  STEELYARD_ASSIGN_OR_RETURN(config->hidden_act, act.String());
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const Json& json, const std::string& source) {
  const JsonField root(json, source);
  ModelConfig config;
  STEELYARD_RETURN_IF_ERROR(ReadModelType(root, &config));
  STEELYARD_RETURN_IF_ERROR(ReadScalars(root, &config));
  STEELYARD_RETURN_IF_ERROR(ReadHeads(root, &config));
  STEELYARD_RETURN_IF_ERROR(ReadRope(root, &config));
  if (config.model_type == kQwen3Moe) {
    STEELYARD_RETURN_IF_ERROR(ReadMlpOnlyLayers(root, &config));
  }
  STEELYARD_RETURN_IF_ERROR(CheckSupported(root, config));
  STEELYARD_RETURN_IF_ERROR(CheckExperts(root, config));
  STEELYARD_ASSIGN_OR_RETURN(config.eos_token_ids, ReadEosIds(root, config.vocab_size));
  return config;
}

Result<ModelConfig> ReadModelConfig(const std::filesystem::path& folder) {
  STEELYARD_RETURN_IF_ERROR(RequireFolder(folder));
  const std::filesystem::path path = folder / "config.json";
  STEELYARD_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  STEELYARD_ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(json, path.string()));
  const std::filesystem::path generation = folder / "generation_config.json";
  std::error_code error;
  if (std::filesystem::exists(generation, error)) {
    STEELYARD_ASSIGN_OR_RETURN(const Json generation_json, ReadJsonFile(generation));
    STEELYARD_ASSIGN_OR_RETURN(
        std::vector<int64_t> ids,
        ReadEosIds(JsonField(generation_json, generation.string()), config.vocab_size));
    if (!ids.empty()) {
      config.eos_token_ids = std::move(ids);
    }
  }
  return config;
}

std::vector<int> MoeLayers(const ModelConfig& config) {
  std::vector<int> layers;
  if (config.num_experts == 0) {
    return layers;
  }
  const std::vector<int64_t>& dense = config.mlp_only_layers;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const bool moe = config.model_type == kQwen3Moe
                         ? std::find(dense.begin(), dense.end(), i) == dense.end() &&
                               (i + 1) % config.decoder_sparse_step == 0
                         : i >= config.first_k_dense_replace && i % config.moe_layer_freq == 0;
    if (moe) {
      layers.push_back(static_cast<int>(i));
    }
  }
  return layers;
}

}  // namespace steelyard
