#include "engine/models/qwen3_moe.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/compute/ops.h"
#include "engine/models/aligned_array.h"
#include "engine/models/moe_exchange.h"
#include "engine/models/qwen3_moe_weights.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace qwen3_moe {
namespace {

MoeShape ShapeOf(const Dims& dims, const RankOptions& options) {
  const Topology& topology = options.placement->topology();
  return {dims.hidden,          dims.num_experts,          dims.top_k,
          topology.num_ranks(), topology.slots_per_rank(), options.max_rows};
}

Status PrepareKernels(const Kernels& kernels, const Weights& weights, int max_rows) {
  const Dims& dims = weights.dims;
  for (const LayerWeights& layer : weights.layers) {
    for (const PackedLinear* linear : {&layer.qkv, &layer.attn_out, &layer.gate_up, &layer.down}) {
      if (linear->shape.num_out == 0) continue;
      STEELYARD_RETURN_IF_ERROR(kernels.main->Prepare(linear->shape, max_rows));
    }
  }
  STEELYARD_RETURN_IF_ERROR(kernels.main->Prepare(weights.head.shape, RankModel::kMaxLogitRows));
  for (const WeightShape& shape : {dims.expert.gate_up(), dims.expert.down()}) {
    STEELYARD_RETURN_IF_ERROR(kernels.main->Prepare(shape, GroupedExperts::kMaxRows));
  }
  return kernels.router->Prepare({dims.num_experts, dims.hidden}, max_rows);
}

class Qwen3MoeRank final : public RankModel {
 public:
  Qwen3MoeRank(std::shared_ptr<const Weights> weights, Kernels kernels,
               std::unique_ptr<ExpertBuffers> buffers, const RankOptions& options);

  ExpertStore& experts() override { return *buffers_; }
  Result<bool> Forward(const StepBatch& batch, Balancer& balancer) override;
  std::span<const float> Logits(int first, int count) override;

 private:
  void Embed(const StepBatch& batch);
  void Attention(const LayerWeights& layer, int layer_idx, const StepBatch& batch);
  void StoreRow(const LayerWeights& layer, int layer_idx, const SequenceRun& run, int i);
  void AttendRun(int layer_idx, const SequenceRun& run);
  void DenseMlp(const LayerWeights& layer);
  Status Moe(const LayerWeights& layer, const StepBatch& batch, Balancer& balancer);
  void FinishLogitRows(const StepBatch& batch);

  const float* row(const AlignedArray<float>& rows, int i, int width) const {
    return rows.data() + static_cast<size_t>(i) * width;
  }
  float* row(AlignedArray<float>& rows, int i, int width) const {
    return rows.data() + static_cast<size_t>(i) * width;
  }

  const std::shared_ptr<const Weights> weights_;
  const Dims& dims_;
  const Kernels kernels_;
  const std::unique_ptr<ExpertBuffers> buffers_;
  const AttentionShape attention_;
  KvCache cache_;
  MoeExchange exchange_;
  int num_rows_ = 0;  // of the step

  AlignedArray<float> residual_;        // [max_rows, hidden]
  AlignedArray<float> normed_;          // [max_rows, hidden]
  AlignedArray<float> delta_;           // [max_rows, hidden] what a sublayer adds
  AlignedArray<float> qkv_;             // [max_rows, qkv_width]
  AlignedArray<float> attended_;        // [max_rows, query_width]
  AlignedArray<float> dense_gate_up_;   // [max_rows, 2 * dense_intermediate]; with dense layers
  AlignedArray<float> dense_active_;    // [max_rows, dense_intermediate]; with dense layers
  AlignedArray<float> router_logits_;   // [max_rows, num_experts]
  AlignedArray<float> router_scratch_;  // [num_experts]
  AlignedArray<int32_t> chosen_;        // [max_rows, top_k]
  AlignedArray<float> chosen_weights_;  // [max_rows, top_k]
  std::vector<Phase> phases_;           // [max_rows]
  std::vector<KvBlock> kv_blocks_;      // of one sequence and layer
  AlignedArray<float> scores_;          // [max_context, rounded up]
  AlignedArray<float> last_hidden_;     // [max_rows, hidden] of the runs that want logits
  AlignedArray<float> logits_;          // [kMaxLogitRows, vocab]
};

size_t Sized(int rows, int width) { return static_cast<size_t>(rows) * width; }

Qwen3MoeRank::Qwen3MoeRank(std::shared_ptr<const Weights> weights, Kernels kernels,
                           std::unique_ptr<ExpertBuffers> buffers, const RankOptions& options)
    : weights_(std::move(weights)),
      dims_(weights_->dims),
      kernels_(std::move(kernels)),
      buffers_(std::move(buffers)),
      attention_{dims_.num_heads, dims_.num_kv_heads, dims_.head_dim, kKvBlockPositions},
      cache_(dims_.num_layers, dims_.num_kv_heads, dims_.head_dim, options.num_kv_blocks),
      exchange_(ShapeOf(dims_, options), *options.comm, *buffers_, *kernels_.main,
                options.exchange_timeout),
      residual_(Sized(options.max_rows, dims_.hidden)),
      normed_(Sized(options.max_rows, dims_.hidden)),
      delta_(Sized(options.max_rows, dims_.hidden)),
      qkv_(Sized(options.max_rows, dims_.qkv_width())),
      attended_(Sized(options.max_rows, dims_.query_width())),
      router_logits_(Sized(options.max_rows, dims_.num_experts)),
      router_scratch_(dims_.num_experts),
      chosen_(Sized(options.max_rows, dims_.top_k)),
      chosen_weights_(Sized(options.max_rows, dims_.top_k)),
      phases_(options.max_rows),
      last_hidden_(Sized(options.max_rows, dims_.hidden)),
      logits_(Sized(kMaxLogitRows, dims_.vocab)) {
  if (dims_.moe_layers.size() < weights_->layers.size()) {
    dense_gate_up_ = AlignedArray<float>(Sized(options.max_rows, 2 * dims_.dense_intermediate));
    dense_active_ = AlignedArray<float>(Sized(options.max_rows, dims_.dense_intermediate));
  }
  const size_t max_context = weights_->rope_cos.size() / (dims_.head_dim / 2);
  const int max_blocks = NumKvBlocks(static_cast<int64_t>(max_context));
  kv_blocks_.resize(max_blocks);
  scores_ = AlignedArray<float>(Sized(max_blocks, kKvBlockPositions));
}

Result<bool> Qwen3MoeRank::Forward(const StepBatch& batch, Balancer& balancer) {
  num_rows_ = static_cast<int>(batch.tokens.size());
  STEELYARD_CHECK_LE(batch.tokens.size(), phases_.size());
  exchange_.BeginStep(batch.more_work);
  Embed(batch);
  for (int layer_idx = 0; layer_idx < dims_.num_layers; ++layer_idx) {
    const LayerWeights& layer = weights_->layers[layer_idx];
    RmsNorm(residual_.data(), layer.input_norm.data(), num_rows_, dims_.hidden, dims_.epsilon,
            normed_.data());
    Attention(layer, layer_idx, batch);
    AddInPlace(delta_.data(), static_cast<int64_t>(Sized(num_rows_, dims_.hidden)),
               residual_.data());
    RmsNorm(residual_.data(), layer.second_norm.data(), num_rows_, dims_.hidden, dims_.epsilon,
            normed_.data());
    if (layer.moe_layer >= 0) {
      STEELYARD_RETURN_IF_ERROR(Moe(layer, batch, balancer));
    } else {
      DenseMlp(layer);
    }
    AddInPlace(delta_.data(), static_cast<int64_t>(Sized(num_rows_, dims_.hidden)),
               residual_.data());
  }
  FinishLogitRows(batch);
  return exchange_.more_work();
}

void Qwen3MoeRank::Embed(const StepBatch& batch) {
  const size_t row_bytes = dims_.hidden * sizeof(float);
  for (int i = 0; i < num_rows_; ++i) {
    std::memcpy(row(residual_, i, dims_.hidden),
                weights_->embedding.data() + Sized(batch.tokens[i], dims_.hidden), row_bytes);
  }
  for (const SequenceRun& run : batch.runs) {
    std::fill_n(phases_.begin() + run.first_row, run.num_rows, run.phase);
  }
}

void Qwen3MoeRank::Attention(const LayerWeights& layer, int layer_idx, const StepBatch& batch) {
  layer.qkv.Multiply(*kernels_.main, normed_.data(), num_rows_, qkv_.data());
  for (const SequenceRun& run : batch.runs) {
    for (int i = 0; i < run.num_rows; ++i) StoreRow(layer, layer_idx, run, i);
    AttendRun(layer_idx, run);
  }
  layer.attn_out.Multiply(*kernels_.main, attended_.data(), num_rows_, delta_.data());
}

void Qwen3MoeRank::StoreRow(const LayerWeights& layer, int layer_idx, const SequenceRun& run,
                            int i) {
  const int position = run.first_position + i;
  float* queries = row(qkv_, run.first_row + i, dims_.qkv_width());
  float* keys = queries + dims_.query_width();
  const float* values = keys + dims_.kv_width();
  RmsNorm(queries, layer.query_norm.data(), dims_.num_heads, dims_.head_dim, dims_.epsilon,
          queries);
  RmsNorm(keys, layer.key_norm.data(), dims_.num_kv_heads, dims_.head_dim, dims_.epsilon, keys);
  const float* cos_row = weights_->rope_cos.data() + Sized(position, dims_.head_dim / 2);
  const float* sin_row = weights_->rope_sin.data() + Sized(position, dims_.head_dim / 2);
  // Queries and keys stand one after another.
  for (int head = 0; head < dims_.num_heads + dims_.num_kv_heads; ++head) {
    ApplyRope(queries + head * dims_.head_dim, dims_.head_dim, cos_row, sin_row);
  }
  const int32_t block = run.blocks[position / kKvBlockPositions];
  StoreKv(attention_, position % kKvBlockPositions, keys, values,
          cache_.mutable_block(block, layer_idx));
}

void Qwen3MoeRank::AttendRun(int layer_idx, const SequenceRun& run) {
  const int num_blocks = NumKvBlocks(run.first_position + run.num_rows);
  for (int i = 0; i < num_blocks; ++i) kv_blocks_[i] = cache_.block(run.blocks[i], layer_idx);
  const std::span<const KvBlock> blocks(kv_blocks_.data(), num_blocks);
  for (int i = 0; i < run.num_rows; ++i) {
    Attend(attention_, row(qkv_, run.first_row + i, dims_.qkv_width()), blocks,
           run.first_position + i, scores_.data(),
           row(attended_, run.first_row + i, dims_.query_width()));
  }
}

void Qwen3MoeRank::DenseMlp(const LayerWeights& layer) {
  layer.gate_up.Multiply(*kernels_.main, normed_.data(), num_rows_, dense_gate_up_.data());
  SiluAndMultiply(dense_gate_up_.data(), num_rows_, dims_.dense_intermediate, dense_active_.data());
  layer.down.Multiply(*kernels_.main, dense_active_.data(), num_rows_, delta_.data());
}

Status Qwen3MoeRank::Moe(const LayerWeights& layer, const StepBatch& batch, Balancer& balancer) {
  layer.router.Multiply(*kernels_.router, normed_.data(), num_rows_, router_logits_.data());
  for (int i = 0; i < num_rows_; ++i) {
    SoftmaxTopK(row(router_logits_, i, dims_.num_experts), dims_.num_experts, dims_.top_k,
                dims_.normalize_top_k, chosen_.data() + Sized(i, dims_.top_k),
                row(chosen_weights_, i, dims_.top_k), router_scratch_.data());
  }
  if (batch.routing != nullptr) {
    batch.routing->Routed(layer.moe_layer, chosen_.span().first(Sized(num_rows_, dims_.top_k)));
  }
  const RoutedRows rows{layer.moe_layer,        num_rows_,     normed_.data(), chosen_.data(),
                        chosen_weights_.data(), phases_.data()};
  return exchange_.Run(rows, balancer, delta_.data());
}

void Qwen3MoeRank::FinishLogitRows(const StepBatch& batch) {
  int count = 0;
  for (const SequenceRun& run : batch.runs) {
    if (!run.wants_logits) continue;
    RmsNorm(row(residual_, run.first_row + run.num_rows - 1, dims_.hidden),
            weights_->final_norm.data(), 1, dims_.hidden, dims_.epsilon,
            row(last_hidden_, count++, dims_.hidden));
  }
}

std::span<const float> Qwen3MoeRank::Logits(int first, int count) {
  STEELYARD_CHECK_LE(count, kMaxLogitRows);
  weights_->head.Multiply(*kernels_.main, row(last_hidden_, first, dims_.hidden), count,
                          logits_.data());
  return logits_.span().first(Sized(count, dims_.vocab));
}

class Qwen3Moe final : public Model {
 public:
  Qwen3Moe(const Checkpoint& checkpoint, Weights weights)
      : checkpoint_(&checkpoint), weights_(std::make_shared<const Weights>(std::move(weights))) {}

  Result<std::unique_ptr<RankModel>> MakeRank(const RankOptions& options) const override {
    const Dims& dims = weights_->dims;
    STEELYARD_ASSIGN_OR_RETURN(Kernels kernels, MakeKernels(weights_->compute, dims));
    STEELYARD_RETURN_IF_ERROR(PrepareKernels(kernels, *weights_, options.max_rows));
    auto buffers = std::make_unique<ExpertBuffers>(dims.expert, *kernels.main, *options.placement,
                                                   options.num_spare_buffers);
    const TensorReader reader(*checkpoint_, TensorReader::Pass::kRead);
    const auto source = [&](int layer, int expert, std::span<float> gate_up,
                            std::span<float> down) {
      return ReadExpert(reader, dims, dims.moe_layers[layer], expert, gate_up, down);
    };
    STEELYARD_RETURN_IF_ERROR(buffers->Load(*options.placement, options.comm->rank(), source));
    return std::unique_ptr<RankModel>(
        std::make_unique<Qwen3MoeRank>(weights_, std::move(kernels), std::move(buffers), options));
  }

 private:
  const Checkpoint* const checkpoint_;
  const std::shared_ptr<const Weights> weights_;
};

}  // namespace
}  // namespace qwen3_moe

Result<std::unique_ptr<Model>> LoadQwen3Moe(const Checkpoint& checkpoint, const ModelConfig& config,
                                            const ModelOptions& options) {
  STEELYARD_ASSIGN_OR_RETURN(
      qwen3_moe::Weights weights,
      qwen3_moe::LoadWeights(checkpoint, config, options.compute, options.max_context));
  return std::unique_ptr<Model>(
      std::make_unique<qwen3_moe::Qwen3Moe>(checkpoint, std::move(weights)));
}

}  // namespace steelyard
