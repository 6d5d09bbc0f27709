#include "engine/models/qwen3_moe_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/compute/ops.h"

namespace steelyard::qwen3_moe {
namespace {

std::string LayerName(int layer) { return fmt::format("model.layers.{}.", layer); }

Dims MakeDims(const ModelConfig& config) {
  Dims dims;
  dims.hidden = static_cast<int>(config.hidden_size);
  dims.num_layers = static_cast<int>(config.num_hidden_layers);
  dims.vocab = static_cast<int>(config.vocab_size);
  dims.num_heads = static_cast<int>(config.num_attention_heads);
  dims.num_kv_heads = static_cast<int>(config.num_key_value_heads);
  dims.head_dim = static_cast<int>(config.head_dim);
  dims.dense_intermediate = static_cast<int>(config.intermediate_size);
  dims.num_experts = static_cast<int>(config.num_experts);
  dims.top_k = static_cast<int>(config.num_experts_per_tok);
  dims.normalize_top_k = config.norm_topk_prob;
  dims.epsilon = static_cast<float>(config.rms_norm_eps);
  dims.expert = {dims.hidden, static_cast<int>(config.moe_intermediate_size)};
  dims.moe_layers = MoeLayers(config);
  return dims;
}

bool HasDenseLayer(const Dims& dims) {
  return dims.moe_layers.size() < static_cast<size_t>(dims.num_layers);
}

/// One pass over the tensors of everything but the experts.
class LayerReader {
 public:
  LayerReader(const TensorReader& reader, const Dims& dims, const Kernels& kernels)
      : reader_(reader), dims_(dims), main_(kernels.main.get()), router_(kernels.router.get()) {}

  Status ReadAll(bool tied, Weights* to) const {
    STEELYARD_RETURN_IF_ERROR(
        reader_.Read("model.embed_tokens.weight", {dims_.vocab, dims_.hidden}, &to->embedding));
    for (int layer = 0; layer < dims_.num_layers; ++layer) {
      LayerWeights& weights = to->layers[layer];
      STEELYARD_RETURN_IF_ERROR(ReadAttention(layer, &weights));
      STEELYARD_RETURN_IF_ERROR(ReadFeedForward(layer, &weights));
    }
    STEELYARD_RETURN_IF_ERROR(reader_.Read("model.norm.weight", {dims_.hidden}, &to->final_norm));
    if (!tied) {
      return reader_.ReadLinear({{"lm_head.weight", dims_.vocab}}, dims_.hidden, main_, &to->head);
    }
    if (reader_.pass() == TensorReader::Pass::kRead) {
      to->head = PackLinear({dims_.vocab, dims_.hidden}, to->embedding, *main_);
    }
    return Status::Ok();
  }

 private:
  Status ReadAttention(int layer, LayerWeights* to) const {
    const std::string name = LayerName(layer);
    const std::string attn = name + "self_attn.";
    STEELYARD_RETURN_IF_ERROR(
        reader_.Read(name + "input_layernorm.weight", {dims_.hidden}, &to->input_norm));
    const std::vector<LinearPart> qkv = {{attn + "q_proj.weight", dims_.query_width()},
                                         {attn + "k_proj.weight", dims_.kv_width()},
                                         {attn + "v_proj.weight", dims_.kv_width()}};
    STEELYARD_RETURN_IF_ERROR(reader_.ReadLinear(qkv, dims_.hidden, main_, &to->qkv));
    STEELYARD_RETURN_IF_ERROR(
        reader_.Read(attn + "q_norm.weight", {dims_.head_dim}, &to->query_norm));
    STEELYARD_RETURN_IF_ERROR(
        reader_.Read(attn + "k_norm.weight", {dims_.head_dim}, &to->key_norm));
    return reader_.ReadLinear({{attn + "o_proj.weight", dims_.hidden}}, dims_.query_width(), main_,
                              &to->attn_out);
  }

  Status ReadFeedForward(int layer, LayerWeights* to) const {
    const std::string name = LayerName(layer);
    STEELYARD_RETURN_IF_ERROR(
        reader_.Read(name + "post_attention_layernorm.weight", {dims_.hidden}, &to->second_norm));
    if (to->moe_layer >= 0) return ReadMoe(layer, to);
    const int width = dims_.dense_intermediate;
    STEELYARD_RETURN_IF_ERROR(reader_.ReadLinear(
        {{name + "mlp.gate_proj.weight", width}, {name + "mlp.up_proj.weight", width}},
        dims_.hidden, main_, &to->gate_up));
    return reader_.ReadLinear({{name + "mlp.down_proj.weight", dims_.hidden}}, width, main_,
                              &to->down);
  }

  Status ReadMoe(int layer, LayerWeights* to) const {
    STEELYARD_RETURN_IF_ERROR(
        reader_.ReadLinear({{LayerName(layer) + "mlp.gate.weight", dims_.num_experts}},
                           dims_.hidden, router_, &to->router));
    if (reader_.pass() == TensorReader::Pass::kRead) return Status::Ok();
    for (int expert = 0; expert < dims_.num_experts; ++expert) {
      STEELYARD_RETURN_IF_ERROR(ReadExpert(reader_, dims_, layer, expert, {}, {}));
    }
    return Status::Ok();
  }

  const TensorReader& reader_;
  const Dims& dims_;
  const GemmKernel* main_;
  const GemmKernel* router_;
};

}  // namespace

Result<Kernels> MakeKernels(ComputeType type, const Dims& dims) {
  std::vector<WeightShape> shapes = {{dims.qkv_width(), dims.hidden},
                                     {dims.hidden, dims.query_width()},
                                     {dims.vocab, dims.hidden},
                                     dims.expert.gate_up(),
                                     dims.expert.down()};
  if (HasDenseLayer(dims)) {
    shapes.push_back({2 * dims.dense_intermediate, dims.hidden});
    shapes.push_back({dims.hidden, dims.dense_intermediate});
  }
  const std::vector<WeightShape> router_shapes = {{dims.num_experts, dims.hidden}};
  Kernels kernels;
  STEELYARD_ASSIGN_OR_RETURN(kernels.main, MakeGemmKernel(type, shapes));
  STEELYARD_ASSIGN_OR_RETURN(kernels.router, MakeGemmKernel(ComputeType::kF32, router_shapes));
  return kernels;
}

Result<Weights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                            ComputeType type, int max_context) {
  Weights weights;
  weights.dims = MakeDims(config);
  weights.compute = type;
  const Dims& dims = weights.dims;
  weights.layers.resize(dims.num_layers);
  for (size_t i = 0; i < dims.moe_layers.size(); ++i) {
    weights.layers[dims.moe_layers[i]].moe_layer = static_cast<int>(i);
  }
  const bool tied = config.tie_word_embeddings;
  const TensorReader check(checkpoint, TensorReader::Pass::kCheck);
  STEELYARD_RETURN_IF_ERROR(LayerReader(check, dims, Kernels{}).ReadAll(tied, &weights));
  STEELYARD_ASSIGN_OR_RETURN(const Kernels kernels, MakeKernels(type, dims));
  const TensorReader read(checkpoint, TensorReader::Pass::kRead);
  STEELYARD_RETURN_IF_ERROR(LayerReader(read, dims, kernels).ReadAll(tied, &weights));
  const size_t rope_size = static_cast<size_t>(max_context) * dims.head_dim / 2;
  weights.rope_cos.resize(rope_size);
  weights.rope_sin.resize(rope_size);
  FillRopeTables(max_context, dims.head_dim, config.rope_theta, weights.rope_cos.data(),
                 weights.rope_sin.data());
  return weights;
}

Status ReadExpert(const TensorReader& reader, const Dims& dims, int layer, int expert,
                  std::span<float> gate_up, std::span<float> down) {
  const std::string name = fmt::format("{}mlp.experts.{}.", LayerName(layer), expert);
  const int width = dims.expert.intermediate;
  const size_t half = gate_up.size() / 2;
  STEELYARD_RETURN_IF_ERROR(
      reader.ReadInto(name + "gate_proj.weight", {width, dims.hidden}, gate_up.first(half)));
  STEELYARD_RETURN_IF_ERROR(
      reader.ReadInto(name + "up_proj.weight", {width, dims.hidden}, gate_up.last(half)));
  return reader.ReadInto(name + "down_proj.weight", {dims.hidden, width}, down);
}

}  // namespace steelyard::qwen3_moe
