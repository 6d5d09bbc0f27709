// The weights of a qwen3_moe model, as its forward pass reads them. Only qwen3_moe*.cc include
// this.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_config.h"
#include "engine/compute/gemm.h"
#include "engine/models/expert_buffers.h"
#include "engine/models/tensor_reader.h"
#include "steelyard/base/status.h"

namespace steelyard::qwen3_moe {

/// Extents of the model. A config's bounds keep every product of two of them inside an int.
struct Dims {
  int hidden = 0;
  int num_layers = 0;
  int vocab = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int dense_intermediate = 0;
  int num_experts = 0;
  int top_k = 0;
  bool normalize_top_k = false;
  float epsilon = 0;
  ExpertShape expert;
  std::vector<int> moe_layers;  // model layers

  int query_width() const { return num_heads * head_dim; }
  int kv_width() const { return num_kv_heads * head_dim; }
  int qkv_width() const { return query_width() + 2 * kv_width(); }
};

struct LayerWeights {
  int moe_layer = -1;              // counts MoE layers from 0; -1 in a dense layer
  std::vector<float> input_norm;   // [hidden]
  PackedLinear qkv;                // [qkv_width, hidden]
  std::vector<float> query_norm;   // [head_dim]
  std::vector<float> key_norm;     // [head_dim]
  PackedLinear attn_out;           // [hidden, query_width]
  std::vector<float> second_norm;  // [hidden]
  PackedLinear router;             // [num_experts, hidden], always float32; MoE layers
  PackedLinear gate_up;            // [2 * dense_intermediate, hidden]; dense layers
  PackedLinear down;               // [hidden, dense_intermediate]; dense layers
};

struct Weights {
  Dims dims;
  ComputeType compute = ComputeType::kBf16;
  std::vector<float> embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;  // [hidden]
  PackedLinear head;              // [vocab, hidden]
  std::vector<float> rope_cos;    // [max_context, head_dim / 2]
  std::vector<float> rope_sin;    // [max_context, head_dim / 2]
};

/// What one thread multiplies with.
struct Kernels {
  std::unique_ptr<GemmKernel> main;    // of the compute type
  std::unique_ptr<GemmKernel> router;  // float32
};
Result<Kernels> MakeKernels(ComputeType type, const Dims& dims);

/// Fails as LoadQwen3Moe() says.
Result<Weights> LoadWeights(const Checkpoint& checkpoint, const ModelConfig& config,
                            ComputeType type, int max_context);

/// Reads one expert of a model layer into `gate_up` [2 * intermediate, hidden] and `down` [hidden,
/// intermediate], or in a checking pass only compares its tensors with `dims`.
Status ReadExpert(const TensorReader& reader, const Dims& dims, int layer, int expert,
                  std::span<float> gate_up, std::span<float> down);

}  // namespace steelyard::qwen3_moe
