#include "engine/compute/panel_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine/compute/bf16.h"
#include "engine/compute/layout_hash.h"
#include "engine/compute/panel.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr size_t kPackedAlignment = 64;
// Rows of one pass: their inputs stay in the second-level cache while all weights go by. A multiple
// of every kernel's block.
constexpr int64_t kPassFloats = 64 * 1024;
constexpr int kMinPassRows = 24;
constexpr int kMaxPassRows = 264;

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kPortable:
      break;
  }
  return "portable";
}

const PanelFunctions& FunctionsOf(Isa isa) {
#if defined(STEELYARD_X86_KERNELS)
  if (isa == Isa::kAvx512) return simd_avx512::kPanelFunctions;
  if (isa == Isa::kAvx2) return simd_avx2::kPanelFunctions;
#endif
  STEELYARD_CHECK(isa == Isa::kPortable);
  return simd_portable::kPanelFunctions;
}

int NumPanels(const WeightShape& shape) {
  return (shape.num_out + kPanelOutputs - 1) / kPanelOutputs;
}

int PassRows(int num_in) {
  const int64_t fit = kPassFloats / std::max(num_in, 1) / kMinPassRows * kMinPassRows;
  return static_cast<int>(std::clamp<int64_t>(fit, kMinPassRows, kMaxPassRows));
}

/// Where output `o` of a panel stands among the 16 of one input (panel.h).
int PlaceInPanel(ComputeType type, int o) {
  return type == ComputeType::kF32 ? o : (o % 8) * 2 + o / 8;
}

class PanelKernel final : public GemmKernel {
 public:
  PanelKernel(ComputeType type, Isa isa)
      : name_(fmt::format("{}-{}", IsaName(isa), ComputeTypeName(type))),
        type_(type),
        function_(type == ComputeType::kF32 ? FunctionsOf(isa).f32 : FunctionsOf(isa).bf16) {}

  std::string_view name() const override { return name_; }
  ComputeType type() const override { return type_; }

  uint64_t LayoutId(const WeightShape& shape) const override {
    return HashLayout("panel16", type_, shape, {});
  }

  size_t PackedBytes(const WeightShape& shape) const override {
    const size_t bytes =
        static_cast<size_t>(NumPanels(shape)) * shape.num_in * kPanelOutputs * element_bytes();
    return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment;
  }

  void Pack(const WeightShape& shape, std::span<const float> weight,
            std::span<std::byte> packed) const override;
  Status Prepare(const WeightShape& shape, int max_rows) override;
  void Multiply(const WeightShape& shape, const std::byte* packed, const float* x, int num_rows,
                float* y) override;

 private:
  size_t element_bytes() const {
    return type_ == ComputeType::kF32 ? sizeof(float) : sizeof(uint16_t);
  }

  std::string name_;
  ComputeType type_;
  PanelFunction function_;
  std::vector<float> rounded_;  // inputs of one pass, rounded to bf16
};

void PanelKernel::Pack(const WeightShape& shape, std::span<const float> weight,
                       std::span<std::byte> packed) const {
  STEELYARD_CHECK_EQ(weight.size(), static_cast<size_t>(shape.num_out) * shape.num_in);
  STEELYARD_CHECK_EQ(packed.size(), PackedBytes(shape));
  std::memset(packed.data(), 0, packed.size());
  for (int o = 0; o < shape.num_out; ++o) {
    const size_t panel = static_cast<size_t>(o / kPanelOutputs) * shape.num_in * kPanelOutputs;
    const size_t first = panel + PlaceInPanel(type_, o % kPanelOutputs);
    for (int i = 0; i < shape.num_in; ++i) {
      const float value = weight[static_cast<size_t>(o) * shape.num_in + i];
      const uint16_t half = Bf16Bits(value);
      std::byte* to = packed.data() + (first + size_t{kPanelOutputs} * i) * element_bytes();
      std::memcpy(to, type_ == ComputeType::kF32 ? static_cast<const void*>(&value) : &half,
                  element_bytes());
    }
  }
}

Status PanelKernel::Prepare(const WeightShape& shape, int max_rows) {
  if (type_ == ComputeType::kBf16) {
    const size_t rows = static_cast<size_t>(std::min(max_rows, PassRows(shape.num_in)));
    rounded_.resize(std::max(rounded_.size(), rows * shape.num_in));
  }
  return Status::Ok();
}

void PanelKernel::Multiply(const WeightShape& shape, const std::byte* packed, const float* x,
                           int num_rows, float* y) {
  const int pass_rows = PassRows(shape.num_in);
  for (int row = 0; row < num_rows; row += pass_rows) {
    const int rows = std::min(pass_rows, num_rows - row);
    const float* inputs = x + static_cast<size_t>(row) * shape.num_in;
    if (type_ == ComputeType::kBf16) {
      const size_t size = static_cast<size_t>(rows) * shape.num_in;
      STEELYARD_CHECK_LE(size, rounded_.size());
      for (size_t i = 0; i < size; ++i) {
        rounded_[i] = RoundToBf16(inputs[i]);
      }
      inputs = rounded_.data();
    }
    function_({.packed = packed,
               .x = inputs,
               .y = y + static_cast<size_t>(row) * shape.num_out,
               .num_rows = rows,
               .num_in = shape.num_in,
               .num_out = shape.num_out});
  }
}

}  // namespace

bool IsaSupported(Isa isa) {
#if defined(STEELYARD_X86_KERNELS)
  if (isa == Isa::kAvx512) return __builtin_cpu_supports("avx512f");
  if (isa == Isa::kAvx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  return isa == Isa::kPortable;
}

Isa BestIsa() {
  for (const Isa isa : {Isa::kAvx512, Isa::kAvx2}) {
    if (IsaSupported(isa)) return isa;
  }
  return Isa::kPortable;
}

std::unique_ptr<GemmKernel> MakePanelKernel(ComputeType type, Isa isa) {
  STEELYARD_CHECK(IsaSupported(isa));
  return std::make_unique<PanelKernel>(type, isa);
}

}  // namespace steelyard
