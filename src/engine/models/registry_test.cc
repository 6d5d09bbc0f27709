#include "engine/models/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/checkpoint/test_files.h"
#include "steelyard/engine/registered_model.h"

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> LayersOf(const char* model_type, const ModelConfig& config) {
  return (*FindFamily(model_type))->moe_layers(config);
}

TEST(Registry, EachFamilySaysWhichLayersHaveExperts) {
  ModelConfig config;
  config.num_hidden_layers = 6;
  config.num_experts = 8;
  config.model_type = "qwen3_moe";
  EXPECT_THAT(LayersOf("qwen3_moe", config), ElementsAre(0, 1, 2, 3, 4, 5));
  config.decoder_sparse_step = 2;
  config.mlp_only_layers = {3};
  EXPECT_THAT(LayersOf("qwen3_moe", config), ElementsAre(1, 5));

  for (const char* model_type : {"deepseek_v2", "deepseek_v3"}) {
    ModelConfig deepseek;
    deepseek.model_type = model_type;
    deepseek.num_hidden_layers = 6;
    deepseek.num_experts = 8;
    deepseek.first_k_dense_replace = 1;
    EXPECT_THAT(LayersOf(model_type, deepseek), ElementsAre(1, 2, 3, 4, 5));
    deepseek.moe_layer_freq = 2;
    EXPECT_THAT(LayersOf(model_type, deepseek), ElementsAre(2, 4));
  }
}

TEST(Registry, AFamilyWithoutAnEngineIsRefusedByName) {
  EXPECT_TRUE(FindFamilyWithEngine("qwen3_moe").ok());
  for (const char* model_type : {"deepseek_v2", "deepseek_v3"}) {
    const Status status = FindFamilyWithEngine(model_type).status();
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
    EXPECT_EQ(status.message(),
              "model_type \"" + std::string(model_type) +
                  "\": its layers are registered, its engine is not built yet; supported: "
                  "qwen3_moe");
  }
}

TEST(Registry, AnUnknownFamilyIsRefusedWithTheList) {
  EXPECT_EQ(FindFamilyWithEngine("llama").status().message(),
            "model_type \"llama\" is not known; supported: qwen3_moe");
}

TEST(Registry, AModelFolderSaysItsLayoutWhetherOrNotItsEngineIsBuilt) {
  const Result<MoeLayout> layout = ReadMoeLayout(STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny");
  ASSERT_TRUE(layout.ok()) << layout.status().ToString();
  EXPECT_EQ(layout->model_type, "qwen3_moe");
  EXPECT_EQ(layout->num_experts, 32);
  EXPECT_THAT(layout->moe_layers, ElementsAre(0, 1, 2, 3, 4, 5));

  const TempFolder folder;
  folder.Write("config.json", R"({"model_type": "deepseek_v2", "hidden_size": 32,
    "num_hidden_layers": 3, "vocab_size": 64, "max_position_embeddings": 128,
    "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
    "moe_intermediate_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "first_k_dense_replace": 1, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
    "hidden_act": "silu", "scoring_func": "softmax", "topk_method": "greedy"})");
  const Result<MoeLayout> deepseek = ReadMoeLayout(folder.path());
  ASSERT_TRUE(deepseek.ok()) << deepseek.status().ToString();
  EXPECT_EQ(deepseek->num_experts, 4);
  EXPECT_EQ(deepseek->num_model_layers, 3);
  EXPECT_THAT(deepseek->moe_layers, ElementsAre(1, 2));

  EXPECT_THAT(ReadMoeLayout(folder.path() / "none").status().message(), HasSubstr("none"));
}

}  // namespace
}  // namespace steelyard
