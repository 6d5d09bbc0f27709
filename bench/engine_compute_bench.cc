// Our products against bare oneDNN, and what the other operations of a layer cost.
//
// A product's line shows `ratio`, the time of bare oneDNN over ours (medians of blocks that
// alternate within one run), and `budget`, what the ratio must not fall below: 0.9 where oneDNN has
// a kernel for bf16, 0 where it has none; then `ratio` is taken against its float32. Weights rotate
// through 24 matrices, as experts do, so that they come from beyond the cache where they are large.
#include <benchmark/benchmark.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <dnnl.hpp>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/compute/gemm.h"
#include "engine/compute/ops.h"
#include "engine/compute/test_data.h"

namespace steelyard {
namespace {

using dnnl::memory;

constexpr int kNumMatrices = 24;
constexpr double kBudget = 0.9;

/// What a program would write that calls oneDNN by itself: inputs already in its type, packed
/// weights, one primitive for this number of rows.
class BareOneDnn {
 public:
  BareOneDnn(memory::data_type type, const WeightShape& shape, int num_rows) {
    omp_set_num_threads(1);
    const memory::desc src({num_rows, shape.num_in}, type, memory::format_tag::ab);
    const memory::desc any({shape.num_in, shape.num_out}, type, memory::format_tag::any);
    const memory::desc plain({shape.num_in, shape.num_out}, memory::data_type::f32,
                             memory::format_tag::ba);
    const memory::desc dst({num_rows, shape.num_out}, memory::data_type::f32,
                           memory::format_tag::ab);
    const dnnl::matmul::primitive_desc description({src, any, dst}, engine_);
    primitive_ = dnnl::matmul(description);
    auto values = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
    memory from(plain, engine_, values.data());
    auto x = RandomFloats(static_cast<size_t>(num_rows) * shape.num_in, 2);
    memory x_from({{num_rows, shape.num_in}, memory::data_type::f32, memory::format_tag::ab},
                  engine_, x.data());
    memory x_to(src, engine_);
    dnnl::reorder(x_from, x_to).execute(stream_, x_from, x_to);
    for (int i = 0; i < kNumMatrices; ++i) {
      memory weights(description.weights_desc(), engine_);
      dnnl::reorder(from, weights).execute(stream_, from, weights);
      arguments_.push_back({{DNNL_ARG_SRC, x_to},
                            {DNNL_ARG_WEIGHTS, weights},
                            {DNNL_ARG_DST, memory(dst, engine_)}});
    }
    stream_.wait();
  }

  void Run(int i) {
    primitive_.execute(stream_, arguments_[i % kNumMatrices]);
    stream_.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul primitive_;
  std::vector<std::unordered_map<int, memory>> arguments_;
};

std::unique_ptr<BareOneDnn> MakeBare(memory::data_type type, const WeightShape& shape,
                                     int num_rows) {
  try {
    return std::make_unique<BareOneDnn>(type, shape, num_rows);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

/// Our kernel with packed matrices of one shape.
class Ours {
 public:
  Ours(ComputeType type, const WeightShape& shape, int num_rows)
      : shape_(shape),
        num_rows_(num_rows),
        kernel_(MakeGemmKernel(type, {&shape, 1}).value()),
        x_(RandomFloats(static_cast<size_t>(num_rows) * shape.num_in, 2)),
        y_(static_cast<size_t>(num_rows) * shape.num_out) {
    const auto weight = RandomFloats(static_cast<size_t>(shape.num_out) * shape.num_in, 1);
    if (!kernel_->Prepare(shape, num_rows).ok()) std::abort();
    for (int i = 0; i < kNumMatrices; ++i) {
      packed_.push_back(PackWeight(*kernel_, shape, weight));
    }
  }

  void Run(int i) {
    kernel_->Multiply(shape_, packed_[i % kNumMatrices].span().data(), x_.data(), num_rows_,
                      y_.data());
  }
  std::string_view name() const { return kernel_->name(); }

 private:
  WeightShape shape_;
  int num_rows_;
  std::unique_ptr<GemmKernel> kernel_;
  std::vector<float> x_;
  std::vector<float> y_;
  std::vector<AlignedBytes> packed_;
};

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Product>
double SecondsOfBlock(Product& product) {
  const double start = ThreadSeconds();
  for (int i = 0; i < kNumMatrices; ++i) {
    product.Run(i);
  }
  return ThreadSeconds() - start;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

void BM_Product(benchmark::State& state, ComputeType type) {
  const WeightShape shape{.num_out = static_cast<int>(state.range(0)),
                          .num_in = static_cast<int>(state.range(1))};
  const auto num_rows = static_cast<int>(state.range(2));
  Ours ours(type, shape, num_rows);
  std::unique_ptr<BareOneDnn> bare;
  if (type == ComputeType::kBf16) {
    bare = MakeBare(memory::data_type::bf16, shape, num_rows);
  }
  const bool has_budget = bare != nullptr;
  if (bare == nullptr) {
    bare = MakeBare(memory::data_type::f32, shape, num_rows);
  }
  std::vector<double> our_seconds;
  std::vector<double> bare_seconds;
  for (auto _ : state) {
    bare_seconds.push_back(SecondsOfBlock(*bare));
    our_seconds.push_back(SecondsOfBlock(ours));
    state.SetIterationTime(our_seconds.back() / kNumMatrices);
  }
  const double seconds = Median(our_seconds) / kNumMatrices;
  state.counters["ratio"] = Median(bare_seconds) / Median(our_seconds);
  state.counters["budget"] = has_budget ? kBudget : 0.0;
  state.counters["GFLOPS"] = 2e-9 * shape.num_out * shape.num_in * num_rows / seconds;
  state.SetLabel(std::string(ours.name()));
}

void ProductShapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"out", "in", "rows"})->UseManualTime()->Unit(benchmark::kMicrosecond);
  for (const auto& [num_out, num_in] : {std::pair{1536, 2048}, {2048, 768}, {128, 128}}) {
    for (const int num_rows : {1, 4, 16, 256}) {
      bench->Args({num_out, num_in, num_rows});
    }
  }
}
BENCHMARK_CAPTURE(BM_Product, bf16, ComputeType::kBf16)->Apply(ProductShapes);
BENCHMARK_CAPTURE(BM_Product, f32, ComputeType::kF32)->Apply(ProductShapes);

void BM_Attend(benchmark::State& state) {
  const AttentionShape shape{
      .num_heads = 4, .num_kv_heads = 2, .head_dim = 32, .block_positions = 16};
  const auto position = static_cast<int>(state.range(0));
  const int num_blocks = position / shape.block_positions + 1;
  const auto floats = RandomFloats(
      static_cast<size_t>(num_blocks) * 2 * shape.num_kv_heads * shape.head_dim * 16, 1);
  std::vector<KvBlock> blocks;
  for (int b = 0; b < num_blocks; ++b) {
    const float* keys = &floats[static_cast<size_t>(b) * 2048];
    blocks.push_back({.keys = keys, .values = keys + 1024});
  }
  const auto queries = RandomFloats(128, 2);
  std::vector<float> scratch(position + 16);
  std::vector<float> out(128);
  for (auto _ : state) {
    Attend(shape, queries.data(), blocks, position, scratch.data(), out.data());
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(BM_Attend)->ArgName("position")->Arg(15)->Arg(127)->Arg(1023);

void BM_RmsNorm(benchmark::State& state) {
  const auto x = RandomFloats(128, 1);
  std::vector<float> y(128);
  for (auto _ : state) {
    RmsNorm(x.data(), x.data(), 1, 128, 1e-6F, y.data());
    benchmark::DoNotOptimize(y.data());
  }
}
BENCHMARK(BM_RmsNorm);

void BM_SiluAndMultiply(benchmark::State& state) {
  const auto x = RandomFloats(128, 1);
  std::vector<float> y(64);
  for (auto _ : state) {
    SiluAndMultiply(x.data(), 1, 64, y.data());
    benchmark::DoNotOptimize(y.data());
  }
}
BENCHMARK(BM_SiluAndMultiply);

void BM_SoftmaxTopK(benchmark::State& state) {
  const auto logits = RandomFloats(32, 1, 3.0F);
  std::vector<float> weights(4);
  std::vector<int32_t> experts(4);
  std::vector<float> scratch(32);
  for (auto _ : state) {
    SoftmaxTopK(logits.data(), 32, 4, true, experts.data(), weights.data(), scratch.data());
    benchmark::DoNotOptimize(experts.data());
  }
}
BENCHMARK(BM_SoftmaxTopK);

}  // namespace
}  // namespace steelyard
