// Model folders that tests may spoil: the bundled one with single parts replaced, and small random
// ones of any shape.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "bundled.h"
#include "engine/checkpoint/test_files.h"

namespace steelyard {

/// The parts of a safetensors file, to be changed and put together again.
struct SafetensorsParts {
  Json header;
  std::string data;

  static SafetensorsParts Read(const std::filesystem::path& path) {
    const std::string bytes = ReadFile(path).value();
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
  }
  std::string Bytes() const { return SafetensorsBytes(header.dump(), data); }
};

/// Links every file of the bundled model into `folder`.
inline void LinkBundledModel(const TempFolder& folder) {
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors",
                           "tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::create_symlink(BundledFolder() / name, folder.path() / name);
  }
}

/// Puts `contents` in the place of a linked file.
inline void ReplaceFile(const TempFolder& folder, const std::string& name,
                        std::string_view contents) {
  std::filesystem::remove(folder.path() / name);
  folder.Write(name, contents);
}

/// Serves requests of a folder from its first file to its last token.
inline Result<ServeReport> OpenAndServe(const std::filesystem::path& folder,
                                        const std::vector<Request>& requests,
                                        const ServeOptions& options) {
  STEELYARD_ASSIGN_OR_RETURN(const ModelFiles model, ModelFiles::Open(folder));
  return Serve(model, requests, options);
}

inline Request RequestOf(std::vector<int32_t> input_ids, int64_t max_new_tokens) {
  Request request;
  request.id = "request";
  request.input_ids = std::move(input_ids);
  request.max_new_tokens = max_new_tokens;
  request.ignore_eos = true;
  return request;
}

/// The smallest qwen3_moe config that has everything.
inline Json SmallConfig() {
  return Json{{"model_type", "qwen3_moe"},
              {"hidden_size", 16},
              {"num_hidden_layers", 3},
              {"vocab_size", 40},
              {"max_position_embeddings", 128},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"head_dim", 8},
              {"intermediate_size", 24},
              {"moe_intermediate_size", 8},
              {"num_experts", 6},
              {"num_experts_per_tok", 2},
              {"decoder_sparse_step", 1},
              {"mlp_only_layers", Json::array()},
              {"norm_topk_prob", true},
              {"tie_word_embeddings", false},
              {"rope_theta", 10000.0},
              {"rms_norm_eps", 1e-6},
              {"hidden_act", "silu"}};
}

using TensorValues = std::map<std::string, std::vector<float>>;

/// Writes a small random model with the tensors that `config` asks for, in float32, and returns
/// them. `is_moe` says which layers have experts.
inline TensorValues WriteSmallModel(const TempFolder& folder, const Json& config,
                                    const std::function<bool(int)>& is_moe) {
  TensorValues tensors;
  Json header = Json::object();
  std::string data;
  std::minstd_rand random(7);
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float scale) {
    size_t size = 1;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    std::uniform_real_distribution<float> value(-scale, scale);
    std::vector<float>& values = tensors[name];
    // Norm weights lie around one, which is what scale 0 stands for.
    for (size_t i = 0; i < size; ++i) {
      values.push_back(scale > 0 ? value(random) : 1 + 0.01F * static_cast<float>(random() % 50));
    }
    header[name] = {{"dtype", "F32"},
                    {"shape", shape},
                    {"data_offsets", {data.size(), data.size() + 4 * size}}};
    data += BytesOf(values);
  };
  const auto extent = [&](const char* key) { return config[key].get<int64_t>(); };
  const int64_t hidden = extent("hidden_size");
  const int64_t head = extent("head_dim");
  const int64_t queries = extent("num_attention_heads") * head;
  const int64_t keys = extent("num_key_value_heads") * head;
  const auto add_mlp = [&](const std::string& name, int64_t width) {
    add(name + "gate_proj.weight", {width, hidden}, 0.5F);
    add(name + "up_proj.weight", {width, hidden}, 0.5F);
    add(name + "down_proj.weight", {hidden, width}, 0.5F);
  };
  add("model.embed_tokens.weight", {extent("vocab_size"), hidden}, 1);
  for (int layer = 0; layer < extent("num_hidden_layers"); ++layer) {
    const std::string name = "model.layers." + std::to_string(layer) + ".";
    add(name + "input_layernorm.weight", {hidden}, 0);
    add(name + "self_attn.q_proj.weight", {queries, hidden}, 0.5F);
    add(name + "self_attn.k_proj.weight", {keys, hidden}, 0.5F);
    add(name + "self_attn.v_proj.weight", {keys, hidden}, 0.5F);
    add(name + "self_attn.o_proj.weight", {hidden, queries}, 0.5F);
    add(name + "self_attn.q_norm.weight", {head}, 0);
    add(name + "self_attn.k_norm.weight", {head}, 0);
    add(name + "post_attention_layernorm.weight", {hidden}, 0);
    if (!is_moe(layer)) {
      add_mlp(name + "mlp.", extent("intermediate_size"));
      continue;
    }
    add(name + "mlp.gate.weight", {extent("num_experts"), hidden}, 1);
    for (int64_t expert = 0; expert < extent("num_experts"); ++expert) {
      add_mlp(name + "mlp.experts." + std::to_string(expert) + ".",
              extent("moe_intermediate_size"));
    }
  }
  add("model.norm.weight", {hidden}, 0);
  if (!config["tie_word_embeddings"].get<bool>()) {
    add("lm_head.weight", {extent("vocab_size"), hidden}, 0.5F);
  }
  folder.Write("config.json", config.dump());
  folder.Write("model.safetensors", SafetensorsBytes(header.dump(), data));
  std::filesystem::create_symlink(BundledFolder() / "tokenizer.json",
                                  folder.path() / "tokenizer.json");
  return tensors;
}

}  // namespace steelyard
