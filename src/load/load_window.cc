#include "steelyard/load/load_window.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

Status CheckExtent(std::string_view name, int extent) {
  if (extent < 1) {
    return InvalidArgument(fmt::format("{} is {}, but at least 1 is needed", name, extent));
  }
  return Status::Ok();
}

// Divides instead of multiplying: a shape that some file claims may overflow any integer.
bool HoldsExactly(size_t size, const LoadShape& shape) {
  for (const int extent : {shape.num_bins, shape.num_phases, shape.num_layers}) {
    if (size % static_cast<size_t>(extent) != 0) {
      return false;
    }
    size /= static_cast<size_t>(extent);
  }
  return size == static_cast<size_t>(shape.num_experts);
}

std::string ShapeText(const LoadShape& shape) {
  const auto counted = [](int count, std::string_view one) {
    return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
  };
  return fmt::format("{} x {} x {} x {}", counted(shape.num_bins, "bin"),
                     counted(shape.num_phases, "phase"), counted(shape.num_layers, "layer"),
                     counted(shape.num_experts, "expert"));
}

// More than any engine routes; sums and squares of such counts stay finite.
constexpr double kMostTokens = 1e18;

std::string_view WhatIsWrong(double count) {
  return !std::isfinite(count) ? "not finite" : count < 0 ? "negative" : "above 1e18";
}

}  // namespace

std::string_view PhaseName(Phase phase) { return phase == Phase::kPrefill ? "prefill" : "decode"; }

LoadWindow::LoadWindow(const LoadShape& shape) : shape_(shape) {
  STEELYARD_CHECK_GE(shape.num_bins, 0);
  STEELYARD_CHECK_GE(shape.num_phases, 0);
  STEELYARD_CHECK_GE(shape.num_layers, 0);
  STEELYARD_CHECK_GE(shape.num_experts, 0);
  counts_.resize(shape.num_counts());
}

Result<LoadWindow> LoadWindow::Create(const LoadShape& shape, std::vector<double> counts) {
  STEELYARD_RETURN_IF_ERROR(CheckExtent("num_bins", shape.num_bins));
  STEELYARD_RETURN_IF_ERROR(CheckExtent("num_phases", shape.num_phases));
  STEELYARD_RETURN_IF_ERROR(CheckExtent("num_layers", shape.num_layers));
  STEELYARD_RETURN_IF_ERROR(CheckExtent("num_experts", shape.num_experts));
  if (!HoldsExactly(counts.size(), shape)) {
    return InvalidArgument(
        fmt::format("{} counts do not fill {}", counts.size(), ShapeText(shape)));
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] >= 0 && counts[i] <= kMostTokens) {
      continue;
    }
    const size_t expert = i % shape.num_experts;
    const size_t layer = i / shape.num_experts % shape.num_layers;
    const size_t row = i / shape.num_experts / shape.num_layers;
    return InvalidArgument(fmt::format("bin {}, phase {}, layer {}, expert {}: count {} is {}",
                                       row / shape.num_phases, row % shape.num_phases, layer,
                                       expert, counts[i], WhatIsWrong(counts[i])));
  }
  LoadWindow window;
  window.shape_ = shape;
  window.counts_ = std::move(counts);
  return window;
}

size_t LoadWindow::Offset(int bin_idx, int phase_idx, int layer_idx) const {
  STEELYARD_CHECK(0 <= bin_idx && bin_idx < shape_.num_bins);
  STEELYARD_CHECK(0 <= phase_idx && phase_idx < shape_.num_phases);
  STEELYARD_CHECK(0 <= layer_idx && layer_idx < shape_.num_layers);
  const size_t row = static_cast<size_t>(bin_idx) * shape_.num_phases + phase_idx;
  return (row * shape_.num_layers + layer_idx) * shape_.num_experts;
}

std::span<const double> LoadWindow::experts(int bin_idx, int phase_idx, int layer_idx) const {
  return {counts_.data() + Offset(bin_idx, phase_idx, layer_idx),
          static_cast<size_t>(shape_.num_experts)};
}

std::span<double> LoadWindow::experts(int bin_idx, int phase_idx, int layer_idx) {
  return {counts_.data() + Offset(bin_idx, phase_idx, layer_idx),
          static_cast<size_t>(shape_.num_experts)};
}

void LoadWindow::AddLayerTo(int layer_idx, std::span<double> sum) const {
  STEELYARD_CHECK_EQ(sum.size(), static_cast<size_t>(shape_.num_experts));
  for (int bin_idx = 0; bin_idx < shape_.num_bins; ++bin_idx) {
    for (int phase_idx = 0; phase_idx < shape_.num_phases; ++phase_idx) {
      const std::span<const double> counts = experts(bin_idx, phase_idx, layer_idx);
      for (size_t e = 0; e < sum.size(); ++e) {
        sum[e] += counts[e];
      }
    }
  }
}

std::string LoadWindow::ToString() const {
  double num_tokens = 0;
  for (const double count : counts_) {
    num_tokens += count;
  }
  return fmt::format("{}, {} tokens", ShapeText(shape_), num_tokens);
}

}  // namespace steelyard
