#include "engine/checkpoint/model_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "base/test_scale.h"
#include "engine/checkpoint/test_files.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;

const std::string kQwen = STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny";
const std::string kConfigs = STEELYARD_SOURCE_DIR "/tests/data/config/";

Json ReadConfigJson(const std::string& folder) {
  return ReadJsonFile(folder + "/config.json").value();
}

// The config of the folder with some of its members replaced; a member set to "absent" is taken
// away.
Json Changed(const std::string& folder, const Json& changes) {
  Json json = ReadConfigJson(folder);
  for (const auto& item : changes.items()) {
    if (item.value() == "absent") {
      json.erase(item.key());
    } else {
      json[item.key()] = item.value();
    }
  }
  return json;
}

ModelConfig MustParse(const Json& json) {
  const auto config = ParseModelConfig(json, "config.json");
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.value();
}

TEST(ModelConfig, ReadsTheBundledQwen3Moe) {
  const auto config = ReadModelConfig(kQwen);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->model_type, "qwen3_moe");
  EXPECT_EQ(config->hidden_size, 128);
  EXPECT_EQ(config->num_hidden_layers, 6);
  EXPECT_EQ(config->vocab_size, 4096);
  EXPECT_EQ(config->max_position_embeddings, 4096);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_EQ(config->num_attention_heads, 4);
  EXPECT_EQ(config->num_key_value_heads, 2);
  EXPECT_EQ(config->head_dim, 32);
  EXPECT_EQ(config->rope_theta, 1e6);
  EXPECT_EQ(config->rms_norm_eps, 1e-6);
  EXPECT_EQ(config->hidden_act, "silu");
  EXPECT_EQ(config->intermediate_size, 256);
  EXPECT_EQ(config->moe_intermediate_size, 64);
  EXPECT_EQ(config->num_experts, 32);
  EXPECT_EQ(config->num_experts_per_tok, 4);
  EXPECT_TRUE(config->norm_topk_prob);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(4093, 4095));
  EXPECT_THAT(MoeLayers(*config), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(ModelConfig, ReadsBothDeepseekGenerations) {
  const auto v2 = ReadModelConfig(kConfigs + "deepseek_v2_tiny");
  ASSERT_TRUE(v2.ok()) << v2.status().message();
  EXPECT_EQ(v2->model_type, "deepseek_v2");
  EXPECT_EQ(v2->num_experts, 32);
  EXPECT_EQ(v2->n_group, 4);
  EXPECT_EQ(v2->topk_group, 2);
  EXPECT_EQ(v2->n_shared_experts, 2);
  EXPECT_FALSE(v2->norm_topk_prob);
  EXPECT_EQ(v2->rope_theta, 10000);
  EXPECT_THAT(v2->eos_token_ids, ElementsAre(1));
  EXPECT_THAT(MoeLayers(*v2), ElementsAre(1, 2, 3, 4, 5));

  const auto v3 = ReadModelConfig(kConfigs + "deepseek_v3_tiny");
  ASSERT_TRUE(v3.ok()) << v3.status().message();
  EXPECT_EQ(v3->n_shared_experts, 1);
  EXPECT_TRUE(v3->norm_topk_prob);
  EXPECT_THAT(MoeLayers(*v3), ElementsAre(1, 2, 3, 4, 5));
}

TEST(ModelConfig, AbsentKeysMeanWhatTheFamilyMeansByThem) {
  const ModelConfig qwen = MustParse(
      Changed(kQwen, {{"num_key_value_heads", "absent"},
                      {"head_dim", nullptr},
                      {"eos_token_id", nullptr},
                      {"decoder_sparse_step", "absent"},
                      {"mlp_only_layers", nullptr},
                      {"norm_topk_prob", "absent"},
                      {"rope_theta", "absent"},
                      {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5000}}}}));
  EXPECT_EQ(qwen.num_key_value_heads, 4);
  EXPECT_EQ(qwen.head_dim, 32);
  EXPECT_EQ(qwen.decoder_sparse_step, 1);
  EXPECT_FALSE(qwen.norm_topk_prob);
  EXPECT_EQ(qwen.rope_theta, 5000);
  EXPECT_THAT(qwen.eos_token_ids, IsEmpty());

  const ModelConfig deepseek =
      MustParse(Changed(kConfigs + "deepseek_v2_tiny", {{"n_group", nullptr},
                                                        {"topk_group", nullptr},
                                                        {"n_shared_experts", nullptr},
                                                        {"moe_layer_freq", "absent"},
                                                        {"first_k_dense_replace", "absent"}}));
  EXPECT_EQ(deepseek.n_group, 1);
  EXPECT_EQ(deepseek.n_shared_experts, 0);
  EXPECT_THAT(MoeLayers(deepseek), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(ModelConfig, TheGenerationConfigDecidesWhatEndsARequestWhereItSaysSo) {
  const TempFolder folder;
  folder.Write("config.json", Changed(kQwen, {{"eos_token_id", 7}}).dump());
  EXPECT_THAT(ReadModelConfig(folder.path())->eos_token_ids, ElementsAre(7));
  folder.Write("generation_config.json", R"({"eos_token_id": null})");
  EXPECT_THAT(ReadModelConfig(folder.path())->eos_token_ids, ElementsAre(7));
  folder.Write("generation_config.json", R"({"eos_token_id": 9})");
  EXPECT_THAT(ReadModelConfig(folder.path())->eos_token_ids, ElementsAre(9));
  folder.Write("generation_config.json", R"({"eos_token_id": [9, 3, 9]})");
  EXPECT_THAT(ReadModelConfig(folder.path())->eos_token_ids, ElementsAre(3, 9));

  folder.Write("generation_config.json", R"({"eos_token_id": [9, 4096]})");
  EXPECT_THAT(ReadModelConfig(folder.path()).status().message(),
              EndsWith("generation_config.json: eos_token_id[1]: must be an integer from 0 to "
                       "4095, but is 4096"));
  folder.Write("generation_config.json", "[");
  EXPECT_THAT(ReadModelConfig(folder.path()).status().message(),
              ::testing::HasSubstr("generation_config.json: line 1"));
}

TEST(MoeLayers, FollowTheRuleOfTheFamily) {
  const auto qwen = [](int64_t layers, int64_t step, std::vector<int64_t> dense, int64_t experts) {
    return MustParse(Changed(kQwen, {{"num_hidden_layers", layers},
                                     {"decoder_sparse_step", step},
                                     {"mlp_only_layers", dense},
                                     {"num_experts", experts}}));
  };
  EXPECT_THAT(MoeLayers(qwen(6, 2, {}, 32)), ElementsAre(1, 3, 5));
  EXPECT_THAT(MoeLayers(qwen(6, 1, {0, 5}, 32)), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(MoeLayers(qwen(7, 3, {2}, 32)), ElementsAre(5));
  EXPECT_THAT(MoeLayers(qwen(3, 4, {}, 32)), IsEmpty());
  EXPECT_THAT(MoeLayers(qwen(3, 1, {}, 0)), IsEmpty());

  const auto deepseek = [](int64_t layers, int64_t dense, int64_t freq) {
    return MustParse(Changed(kConfigs + "deepseek_v3_tiny", {{"num_hidden_layers", layers},
                                                             {"first_k_dense_replace", dense},
                                                             {"moe_layer_freq", freq}}));
  };
  EXPECT_THAT(MoeLayers(deepseek(6, 3, 1)), ElementsAre(3, 4, 5));
  EXPECT_THAT(MoeLayers(deepseek(7, 1, 2)), ElementsAre(2, 4, 6));
  EXPECT_THAT(MoeLayers(deepseek(6, 0, 5)), ElementsAre(0, 5));
  EXPECT_THAT(MoeLayers(deepseek(2, 2, 1)), IsEmpty());
  EXPECT_EQ(MoeLayers(deepseek(61, 3, 1)).size(), 58U);
}

struct Refusal {
  std::string folder;
  Json changes;
  std::string message;
};

void ExpectRefused(std::initializer_list<Refusal> rows) {
  for (const Refusal& row : rows) {
    const auto config = ParseModelConfig(Changed(row.folder, row.changes), "config.json");
    ASSERT_FALSE(config.ok()) << row.changes.dump();
    EXPECT_EQ(config.status().message(), "config.json: " + row.message);
  }
}

TEST(ModelConfig, RefusesWhatTheEngineCannotDo) {
  ExpectRefused({
      {kQwen,
       {{"model_type", "llama"}},
       "model_type \"llama\" is not supported; supported: qwen3_moe, deepseek_v2, deepseek_v3"},
      {kQwen,
       {{"hidden_act", "gelu"}},
       "hidden_act: \"gelu\" is not supported; supported: \"silu\""},
      {kQwen, {{"attention_bias", true}}, "attention_bias: true is not supported"},
      {kQwen,
       {{"use_sliding_window", true}},
       "use_sliding_window: a sliding window is not supported"},
      {kQwen,
       {{"rope_scaling", {{"type", "yarn"}, {"factor", 4}}}},
       "rope_scaling: \"yarn\" is not supported"},
      {kQwen,
       {{"rope_scaling", {{"factor", 4}}}},
       "rope_scaling: scaled positions are not supported"},
      {kQwen,
       {{"rope_parameters", {{"rope_type", "linear"}}}},
       "rope_parameters: \"linear\" is not supported"},
      {kQwen,
       {{"quantization_config", {{"quant_method", "fp8"}}}},
       "quantization_config: quantised weights are not supported yet"},
  });
}

TEST(ModelConfig, RefusesWhatIsMissingOrOfTheWrongTypeOrSize) {
  const std::string v3 = kConfigs + "deepseek_v3_tiny";
  ExpectRefused({
      {kQwen, {{"model_type", "absent"}}, "model_type: is missing"},
      {kQwen, {{"model_type", 3}}, "model_type: must be a string, but is 3"},
      {kQwen, {{"hidden_size", "absent"}}, "hidden_size: is missing"},
      {kQwen, {{"hidden_size", nullptr}}, "hidden_size: is missing"},
      {kQwen, {{"hidden_size", 0}}, "hidden_size: must be an integer from 1 to 1048576, but is 0"},
      {kQwen,
       {{"hidden_size", "128"}},
       "hidden_size: must be an integer from 1 to 1048576, but is \"128\""},
      {kQwen,
       {{"num_hidden_layers", -6}},
       "num_hidden_layers: must be an integer from 1 to 4096, but is -6"},
      {kQwen,
       {{"vocab_size", 1e12}},
       "vocab_size: must be an integer from 1 to 16777216, but is 1000000000000.0"},
      {kQwen,
       {{"num_experts", true}},
       "num_experts: must be an integer from 0 to 65536, but is true"},
      {kQwen, {{"num_experts", "absent"}}, "num_experts: is missing"},
      {v3, {{"n_routed_experts", "absent"}}, "n_routed_experts: is missing"},
      {v3, {{"n_group", "absent"}}, "n_group: is missing"},
      {v3, {{"norm_topk_prob", "absent"}}, "norm_topk_prob: is missing"},
      {kQwen,
       {{"decoder_sparse_step", 0}},
       "decoder_sparse_step: must be an integer from 1 to 4096, but is 0"},
      {v3, {{"moe_layer_freq", 0}}, "moe_layer_freq: must be an integer from 1 to 4096, but is 0"},
      {kQwen, {{"mlp_only_layers", 3}}, "mlp_only_layers: must be an array, but is 3"},
      {kQwen,
       {{"mlp_only_layers", {6}}},
       "mlp_only_layers[0]: must be an integer from 0 to 5, but is 6"},
      {kQwen, {{"norm_topk_prob", 1}}, "norm_topk_prob: must be true or false, but is 1"},
      {kQwen, {{"rms_norm_eps", "absent"}}, "rms_norm_eps: is missing"},
      {kQwen, {{"rms_norm_eps", -1}}, "rms_norm_eps: must be a number from 0 to 1, but is -1"},
      {kQwen, {{"rope_theta", "absent"}}, "rope_theta: is missing"},
      {kQwen,
       {{"rope_theta", 0}},
       "rope_theta: must be a number from 1 to 1000000000000, but is 0"},
      {kQwen, {{"hidden_act", "absent"}}, "hidden_act: is missing"},
      {kQwen,
       {{"eos_token_id", {1, "x"}}},
       "eos_token_id[1]: must be an integer from 0 to 4095, but is \"x\""},
  });
}

TEST(ModelConfig, RefusesPartsThatDoNotFitEachOther) {
  const std::string v3 = kConfigs + "deepseek_v3_tiny";
  ExpectRefused({
      {kQwen,
       {{"num_key_value_heads", 3}},
       "num_key_value_heads: 3 does not divide num_attention_heads, 4"},
      {kQwen, {{"head_dim", 31}}, "head_dim: must be even and at least 2, but is 31"},
      {kQwen,
       {{"num_experts_per_tok", 33}},
       "num_experts_per_tok: 33 is more than the 32 experts to choose from"},
      {v3,
       {{"num_experts_per_tok", 17}},
       "num_experts_per_tok: 17 is more than the 16 experts to choose from"},
      {v3, {{"n_group", 5}}, "n_group: 5 does not divide the 32 experts"},
      {v3, {{"topk_group", 5}}, "topk_group: 5 is more than n_group, 4"},
  });
}

TEST(ModelConfig, NamesTheFileThatIsMissingOrNoJson) {
  const TempFolder folder;
  const std::string config = (folder.path() / "config.json").string();
  EXPECT_EQ(ReadModelConfig(folder.path()).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(ReadModelConfig(folder.path()).status().message(), ::testing::StartsWith(config));
  folder.Write("config.json", "[1]");
  EXPECT_EQ(ReadModelConfig(folder.path()).status(),
            InvalidArgument(config + ": must be an object, but is an array"));
  const std::string missing = (folder.path() / "missing").string();
  EXPECT_EQ(ReadModelConfig(missing).status(), NotFound(missing + ": there is no such folder"));
}

TEST(ModelConfig, NoDamagedConfigBreaksTheReader) {
  const std::string good = ReadConfigJson(kQwen).dump();
  int num_read = 0;
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string damaged = good.substr(0, seed % 4 == 0 ? random() % good.size() : good.size());
    if (!damaged.empty()) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto json = ParseJson(damaged, "config.json");
    if (!json.ok()) {
      continue;
    }
    const auto config = ParseModelConfig(*json, "config.json");
    if (config.ok()) {
      ++num_read;
      EXPECT_LE(MoeLayers(*config).size(), 4096U) << "seed " << seed;
    } else {
      EXPECT_FALSE(config.status().message().empty()) << "seed " << seed;
    }
  }
  EXPECT_GT(num_read, 0);
}

}  // namespace
}  // namespace steelyard
