// Whatever is wrong with a model folder or with what is asked of it is one line that names the
// place, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "small_models.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

ServeOptions TwoRanks() {
  ServeOptions options;
  options.num_ranks = 2;
  options.compute = ComputeType::kF32;
  return options;
}

std::string Refusal(const TempFolder& folder, const ServeOptions& options = TwoRanks()) {
  const Status status = OpenAndServe(folder.path(), {RequestOf({1, 2, 3}, 2)}, options).status();
  EXPECT_FALSE(status.ok()) << "it was served";
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << status.message();
  return status.message();
}

using Change = std::function<void(SafetensorsParts&)>;

std::string RefusalOfChangedWeights(const Change& change) {
  const TempFolder folder;
  LinkBundledModel(folder);
  SafetensorsParts parts = SafetensorsParts::Read(BundledFolder() / "model.safetensors");
  change(parts);
  ReplaceFile(folder, "model.safetensors", parts.Bytes());
  return Refusal(folder);
}

std::string RefusalOfChangedConfig(const std::function<void(Json&)>& change) {
  const TempFolder folder;
  LinkBundledModel(folder);
  Json config = ReadJsonFile(BundledFolder() / "config.json").value();
  change(config);
  ReplaceFile(folder, "config.json", config.dump());
  return Refusal(folder);
}

// Writes `bits` over the first element of a bf16 tensor.
Change SetFirst(const std::string& tensor, uint16_t bits) {
  return [=](SafetensorsParts& parts) {
    const size_t at = parts.header[tensor]["data_offsets"][0].get<size_t>();
    std::memcpy(parts.data.data() + at, &bits, sizeof(bits));
  };
}

TEST(BadModel, MissingOrDamagedFiles) {
  const TempFolder folder;
  EXPECT_THAT(Refusal(folder), HasSubstr("config.json"));
  LinkBundledModel(folder);
  std::filesystem::remove(folder.path() / "model.safetensors");
  EXPECT_THAT(Refusal(folder), HasSubstr("model.safetensors"));
  const std::string whole = ReadFile(BundledFolder() / "model.safetensors").value();
  folder.Write("model.safetensors", std::string_view(whole).substr(0, whole.size() / 2));
  EXPECT_THAT(Refusal(folder), HasSubstr("model.safetensors"));
  ReplaceFile(folder, "model.safetensors", whole.substr(0, 5));
  EXPECT_THAT(Refusal(folder), HasSubstr("model.safetensors"));
  ReplaceFile(folder, "tokenizer.json", "{");
  EXPECT_THAT(Refusal(folder), HasSubstr("tokenizer.json"));
  ReplaceFile(folder, "config.json", "{\"model_type\": ");
  EXPECT_THAT(Refusal(folder), HasSubstr("config.json"));
}

TEST(BadModel, EveryTensorMustBeThereWithItsShapeAndType) {
  const std::string expert = "model.layers.5.mlp.experts.31.down_proj.weight";
  for (const std::string& name :
       {expert, std::string("model.layers.2.mlp.gate.weight"), std::string("lm_head.weight"),
        std::string("model.layers.0.self_attn.k_norm.weight")}) {
    EXPECT_THAT(RefusalOfChangedWeights([&](SafetensorsParts& parts) {
                  parts.header[name + "x"] = parts.header[name];
                  parts.header.erase(name);
                }),
                HasSubstr(name));
  }
  EXPECT_THAT(RefusalOfChangedWeights([&](SafetensorsParts& parts) {
                parts.header[expert]["shape"] = {64, 128};
              }),
              testing::AllOf(HasSubstr(expert), HasSubstr("[64, 128]"), HasSubstr("[128, 64]")));
  EXPECT_THAT(RefusalOfChangedWeights(
                  [&](SafetensorsParts& parts) { parts.header[expert]["dtype"] = "I16"; }),
              testing::AllOf(HasSubstr(expert), HasSubstr("I16")));
}

TEST(BadModel, WeightsThatAreNotFiniteAreRefused) {
  const uint16_t nan = 0x7FC0;
  const uint16_t infinity = 0xFF80;
  for (const char* name :
       {"model.layers.3.mlp.experts.9.up_proj.weight", "model.layers.0.self_attn.q_proj.weight",
        "model.embed_tokens.weight", "model.layers.1.mlp.gate.weight"}) {
    EXPECT_THAT(RefusalOfChangedWeights(SetFirst(name, nan)), HasSubstr(name));
    EXPECT_THAT(RefusalOfChangedWeights(SetFirst(name, infinity)), HasSubstr(name));
  }
}

// The shapes that exist refuse it, before memory is taken for the shapes that it claims.
TEST(BadModel, AConfigThatLiesIsFoundOutByTheTensors) {
  const auto refusal = [](const char* key, Json value) {
    return RefusalOfChangedConfig([&](Json& config) { config[key] = value; });
  };
  EXPECT_THAT(refusal("hidden_size", 1 << 20), HasSubstr("model.embed_tokens.weight"));
  EXPECT_THAT(refusal("vocab_size", 1 << 24), HasSubstr("model.embed_tokens.weight"));
  EXPECT_THAT(refusal("num_hidden_layers", 4096), HasSubstr("model.layers.6."));
  EXPECT_THAT(refusal("num_experts", 65536), HasSubstr("mlp.gate.weight"));
  EXPECT_THAT(refusal("moe_intermediate_size", 1 << 22), HasSubstr("mlp.experts.0.gate_proj"));
  EXPECT_THAT(refusal("head_dim", 1 << 14), HasSubstr("self_attn.q_proj.weight"));
  EXPECT_THAT(refusal("decoder_sparse_step", 2), HasSubstr("mlp.gate_proj.weight"));
  EXPECT_THAT(refusal("mlp_only_layers", {0, 1, 2, 3, 4, 5}), HasSubstr("no layer"));
  EXPECT_THAT(refusal("tie_word_embeddings", "yes"), HasSubstr("tie_word_embeddings"));
}

TEST(BadModel, FamiliesWithoutAnEngineAreRefused) {
  EXPECT_THAT(RefusalOfChangedConfig([](Json& config) { config["model_type"] = "llama"; }),
              testing::AllOf(HasSubstr("llama"), HasSubstr("qwen3_moe")));
}

TEST(BadOptions, APlacementThatDoesNotFitIsRefused) {
  const auto refusal = [](int num_ranks, int slots, int num_layers, int num_experts) {
    ServeOptions options = TwoRanks();
    options.balancer.mode = BalanceMode::kStatic;
    options.placement =
        Placement::Contiguous(Topology::Create(num_ranks, slots).value(), num_layers, num_experts)
            .value();
    return Serve(BundledModel(), std::vector{RequestOf({1}, 1)}, options).status().message();
  };
  EXPECT_EQ(refusal(4, 9, 6, 32), "the placement is for 4 ranks, the run has 2");
  EXPECT_EQ(refusal(2, 17, 5, 32), "the placement is for 5 MoE layers, the run has 6");
  EXPECT_EQ(refusal(2, 17, 6, 33), "the placement is for 33 experts, the run has 32");
  EXPECT_EQ(refusal(2, 17, 6, 32), "") << "this one fits";

  ServeOptions options = TwoRanks();
  options.placement = Placement::Contiguous(Topology::Create(2, 17).value(), 6, 32).value();
  options.balancer.mode = BalanceMode::kOff;
  EXPECT_THAT(Serve(BundledModel(), std::vector{RequestOf({1}, 1)}, options).status().message(),
              HasSubstr("balance mode off"));
  options.balancer.mode = BalanceMode::kStatic;
  options.slots_per_rank = 18;
  EXPECT_EQ(Serve(BundledModel(), std::vector{RequestOf({1}, 1)}, options).status().message(),
            "the placement is for 17 slots on a rank, the run has 18");
}

TEST(BadOptions, SlotsMustHoldAllExpertsAndNoRankMoreThanThereAre) {
  const auto refusal = [](int slots) {
    ServeOptions options = TwoRanks();
    options.slots_per_rank = slots;
    return Serve(BundledModel(), std::vector{RequestOf({1}, 1)}, options).status().message();
  };
  EXPECT_THAT(refusal(15), HasSubstr("30"));
  EXPECT_THAT(refusal(33), HasSubstr("33"));
  EXPECT_EQ(refusal(32), "");
}

TEST(BadOptions, EveryCountMustBePositive) {
  const auto refusal = [](const std::function<void(ServeOptions&)>& change) {
    ServeOptions options = TwoRanks();
    change(options);
    return Serve(BundledModel(), std::vector{RequestOf({1}, 1)}, options).status().message();
  };
  EXPECT_THAT(refusal([](ServeOptions& o) { o.num_ranks = 0; }), HasSubstr("num_ranks"));
  EXPECT_THAT(refusal([](ServeOptions& o) { o.max_batch_tokens = 0; }),
              HasSubstr("max_batch_tokens"));
  EXPECT_THAT(refusal([](ServeOptions& o) { o.max_sequences = 0; }), HasSubstr("max_sequences"));
  EXPECT_THAT(refusal([](ServeOptions& o) { o.kv_cache_tokens = -1; }),
              HasSubstr("kv_cache_tokens"));
  EXPECT_THAT(refusal([](ServeOptions& o) { o.policy = "best"; }), HasSubstr("best"));
  EXPECT_THAT(refusal([](ServeOptions& o) { o.balancer.window_steps = 6; }), HasSubstr("window"));
  EXPECT_THAT(Serve(BundledModel(), {}, TwoRanks()).status().message(), HasSubstr("no request"));
}

}  // namespace
}  // namespace steelyard
