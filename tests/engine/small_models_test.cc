// Every shape of a qwen3_moe model against a forward pass written down plainly, in double
// precision, one token at a time: dense layers, tied heads, router weights as they come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "small_models.h"

namespace steelyard {
namespace {

using Vector = std::vector<double>;

class PlainModel {
 public:
  PlainModel(const Json& config, const TensorValues& tensors, std::function<bool(int)> is_moe)
      : config_(config), tensors_(tensors), is_moe_(std::move(is_moe)) {}

  /// Logits after the last of `tokens`.
  Vector Logits(const std::vector<int32_t>& tokens) const {
    std::vector<Vector> states;
    for (const int32_t token : tokens) states.push_back(Row("model.embed_tokens.weight", token));
    for (int layer = 0; layer < config_["num_hidden_layers"].get<int>(); ++layer) {
      AddAttention(layer, &states);
      for (Vector& state : states) AddFeedForward(layer, &state);
    }
    const Vector last = Norm("model.norm.weight", states.back());
    return Apply(
        config_["tie_word_embeddings"].get<bool>() ? "model.embed_tokens.weight" : "lm_head.weight",
        last);
  }

 private:
  Vector Row(const std::string& name, size_t row) const {
    const std::vector<float>& values = tensors_.at(name);
    const size_t width = config_["hidden_size"].get<size_t>();
    return {values.begin() + row * width, values.begin() + (row + 1) * width};
  }

  Vector Apply(const std::string& name, const Vector& x) const {
    const std::vector<float>& weight = tensors_.at(name);
    Vector y(weight.size() / x.size());
    for (size_t o = 0; o < y.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
    }
    return y;
  }

  Vector Norm(const std::string& name, const Vector& x) const {
    const std::vector<float>& weight = tensors_.at(name);
    const double square = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
    const double scale = 1 / std::sqrt(square / static_cast<double>(x.size()) + 1e-6);
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
    return y;
  }

  // One vector per head, normalised and rotated.
  std::vector<Vector> Heads(const Vector& x, const std::string& norm, size_t position) const {
    const size_t size = config_["head_dim"].get<size_t>();
    std::vector<Vector> heads;
    for (size_t first = 0; first < x.size(); first += size) {
      const Vector head = Norm(norm, Vector(x.begin() + first, x.begin() + first + size));
      Vector turned(size);
      for (size_t i = 0; i < size / 2; ++i) {
        const double frequency =
            std::pow(config_["rope_theta"].get<double>(),
                     -2.0 * static_cast<double>(i) / static_cast<double>(size));
        const double angle = static_cast<double>(position) * frequency;
        turned[i] = head[i] * std::cos(angle) - head[i + size / 2] * std::sin(angle);
        turned[i + size / 2] = head[i + size / 2] * std::cos(angle) + head[i] * std::sin(angle);
      }
      heads.push_back(turned);
    }
    return heads;
  }

  void AddAttention(int layer, std::vector<Vector>* states) const {
    const std::string name = "model.layers." + std::to_string(layer) + ".";
    const std::string attn = name + "self_attn.";
    const size_t size = config_["head_dim"].get<size_t>();
    std::vector<std::vector<Vector>> keys;
    std::vector<Vector> values;
    for (size_t position = 0; position < states->size(); ++position) {
      Vector& state = (*states)[position];
      const Vector x = Norm(name + "input_layernorm.weight", state);
      const auto queries =
          Heads(Apply(attn + "q_proj.weight", x), attn + "q_norm.weight", position);
      keys.push_back(Heads(Apply(attn + "k_proj.weight", x), attn + "k_norm.weight", position));
      values.push_back(Apply(attn + "v_proj.weight", x));
      const size_t heads_per_kv = queries.size() / keys[0].size();
      Vector attended;
      for (size_t head = 0; head < queries.size(); ++head) {
        const size_t kv = head / heads_per_kv;
        Vector weights;
        for (size_t past = 0; past <= position; ++past) {
          weights.push_back(std::inner_product(queries[head].begin(), queries[head].end(),
                                               keys[past][kv].begin(), 0.0) /
                            std::sqrt(static_cast<double>(size)));
        }
        Softmax(&weights);
        for (size_t i = 0; i < size; ++i) {
          double sum = 0;
          for (size_t past = 0; past <= position; ++past) {
            sum += weights[past] * values[past][kv * size + i];
          }
          attended.push_back(sum);
        }
      }
      AddScaled(Apply(attn + "o_proj.weight", attended), 1, &state);
    }
  }

  void AddFeedForward(int layer, Vector* state) const {
    const std::string name = "model.layers." + std::to_string(layer) + ".";
    const Vector x = Norm(name + "post_attention_layernorm.weight", *state);
    if (!is_moe_(layer)) return AddScaled(Mlp(name + "mlp.", x), 1, state);
    Vector weights = Apply(name + "mlp.gate.weight", x);
    Softmax(&weights);
    std::vector<int> order(weights.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return weights[a] > weights[b]; });
    order.resize(config_["num_experts_per_tok"].get<size_t>());
    double total = 0;
    for (const int expert : order) total += weights[expert];
    if (!config_["norm_topk_prob"].get<bool>()) total = 1;
    for (const int expert : order) {
      AddScaled(Mlp(name + "mlp.experts." + std::to_string(expert) + ".", x),
                weights[expert] / total, state);
    }
  }

  Vector Mlp(const std::string& name, const Vector& x) const {
    Vector gate = Apply(name + "gate_proj.weight", x);
    const Vector up = Apply(name + "up_proj.weight", x);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
    return Apply(name + "down_proj.weight", gate);
  }

  static void Softmax(Vector* values) {
    const double largest = *std::max_element(values->begin(), values->end());
    double sum = 0;
    for (double& value : *values) sum += value = std::exp(value - largest);
    for (double& value : *values) value /= sum;
  }

  static void AddScaled(const Vector& x, double scale, Vector* y) {
    for (size_t i = 0; i < x.size(); ++i) (*y)[i] += scale * x[i];
  }

  const Json& config_;
  const TensorValues& tensors_;
  const std::function<bool(int)> is_moe_;
};

struct ModelShape {
  const char* what;
  Json changes;  // of SmallConfig()
  std::function<bool(int)> is_moe;
};

std::vector<ModelShape> AllShapes() {
  const auto always = [](int) { return true; };
  return {
      {"all layers have experts", Json::object(), always},
      {"every second layer has experts",
       {{"decoder_sparse_step", 2}},
       [](int layer) { return layer == 1; }},
      {"one layer is dense all the same",
       {{"mlp_only_layers", Json::array({0})}},
       [](int layer) { return layer > 0; }},
      {"the head is the embedding", {{"tie_word_embeddings", true}}, always},
      {"router weights do not sum to one", {{"norm_topk_prob", false}}, always},
      {"one expert a token", {{"num_experts_per_tok", 1}}, always},
      {"every expert for every token", {{"num_experts_per_tok", 6}}, always},
      {"each head has its own keys", {{"num_key_value_heads", 4}}, always},
      {"sizes that no vector divides",
       {{"hidden_size", 18}, {"moe_intermediate_size", 7}, {"head_dim", 6}, {"vocab_size", 41}},
       always},
  };
}

TEST(SmallModels, OfEveryShapeAnswerAsThePlainForwardPassDoes) {
  for (const ModelShape& shape : AllShapes()) {
    SCOPED_TRACE(shape.what);
    Json config = SmallConfig();
    config.update(shape.changes);
    const TempFolder folder;
    const TensorValues tensors = WriteSmallModel(folder, config, shape.is_moe);
    std::vector<int32_t> prompt;
    for (int i = 0; i < 70; ++i) prompt.push_back(i * 7 % 40);  // three blocks of the cache
    ServeOptions options;
    options.compute = ComputeType::kF32;
    options.num_ranks = 3;
    options.max_batch_tokens = 32;
    options.balancer.window_steps = 4;
    std::vector<float> logits;
    options.on_logits = [&](const Request&, std::span<const float> values) {
      logits.assign(values.begin(), values.end());
      return Status::Ok();
    };
    const Result<ServeReport> report =
        OpenAndServe(folder.path(), {RequestOf(prompt, 12)}, options);
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    const PlainModel plain(config, tensors, shape.is_moe);
    const Vector expected = plain.Logits(prompt);
    ASSERT_EQ(logits.size(), expected.size());
    for (size_t i = 0; i < logits.size(); ++i) {
      ASSERT_NEAR(logits[i], expected[i], 1e-3) << "logit " << i;
    }
    // Generated tokens go through the cache; the plain pass starts over for each.
    std::vector<int32_t> tokens = prompt;
    for (const int32_t token : report->results[0].new_tokens) {
      const Vector next = plain.Logits(tokens);
      EXPECT_GE(next[token], *std::max_element(next.begin(), next.end()) - 1e-3);
      tokens.push_back(token);
    }
  }
}

TEST(SmallModels, AnswerTheSameOnMoreRanksThanHaveRequests) {
  const TempFolder folder;
  WriteSmallModel(folder, SmallConfig(), [](int) { return true; });
  std::vector<std::vector<int32_t>> first;
  for (const int num_ranks : {1, 2, 6, 7}) {
    ServeOptions options;
    options.num_ranks = num_ranks;
    options.balancer.window_steps = 4;
    const Result<ServeReport> report =
        OpenAndServe(folder.path(), {RequestOf({1, 2, 3}, 40), RequestOf({4}, 30)}, options);
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    if (first.empty()) first = TokensOf(*report);
    EXPECT_EQ(TokensOf(*report), first) << num_ranks << " ranks";
  }
}

}  // namespace
}  // namespace steelyard
