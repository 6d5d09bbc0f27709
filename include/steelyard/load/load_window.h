// A LoadWindow holds the tokens routed to each logical expert, bin by bin and phase by phase, over
// one window of steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"

namespace steelyard {

/// What a token was doing when it was routed. Values are indices.
enum class Phase : uint8_t { kPrefill = 0, kDecode = 1 };
inline constexpr int kNumPhases = 2;
std::string_view PhaseName(Phase phase);

struct LoadShape {
  int num_bins = 0;
  int num_phases = 0;  // 1 where phases are summed
  int num_layers = 0;  // MoE layers, in model order
  int num_experts = 0;

  size_t num_counts() const {
    return static_cast<size_t>(num_bins) * num_phases * num_layers * num_experts;
  }
  friend bool operator==(const LoadShape&, const LoadShape&) = default;
};

/// A value type; copies are deep.
class LoadWindow {
 public:
  LoadWindow() = default;
  /// All zero. Requires: every extent >= 0.
  explicit LoadWindow(const LoadShape& shape);

  /// Takes over `counts` [num_bins, num_phases, num_layers, num_experts], in tokens.
  /// Fails with kInvalidArgument, naming bin, phase, layer and expert of the first offender, when a
  /// count is negative, not finite or above 1e18, and when the size is not shape.num_counts() or an
  /// extent is below 1.
  static Result<LoadWindow> Create(const LoadShape& shape, std::vector<double> counts);

  const LoadShape& shape() const { return shape_; }
  std::span<const double> counts() const { return counts_; }

  /// Tokens per expert, [num_experts].
  std::span<const double> experts(int bin_idx, int phase_idx, int layer_idx) const;
  std::span<double> experts(int bin_idx, int phase_idx, int layer_idx);

  /// Adds the tokens of `layer_idx`, over all bins and phases in order, to `sum` [num_experts].
  void AddLayerTo(int layer_idx, std::span<double> sum) const;

  /// For example "4 bins x 2 phases x 6 layers x 32 experts, 8192 tokens".
  std::string ToString() const;

 private:
  size_t Offset(int bin_idx, int phase_idx, int layer_idx) const;

  LoadShape shape_;
  std::vector<double> counts_;  // [num_bins, num_phases, num_layers, num_experts]
};

}  // namespace steelyard
