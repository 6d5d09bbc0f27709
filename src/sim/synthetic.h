// Traces made up: log-normal popularity of experts, domains that come and go, tokens drawn one
// against the other so that a bin is as noisy as so many tokens are.
//
// The same spec gives the same trace on one machine and one C++ library; it is no plan, so nothing
// more is asked of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"

namespace steelyard {

/// How popularity changes over time. A domain is one popularity of experts for every layer.
enum class SyntheticDrift : uint8_t {
  kNone,             // one domain for ever
  kOneWay,           // from one domain to another, evenly over the trace
  kAlternating,      // two domains in turn, `period` bins each
  kSwitchAndReturn,  // the first domain, from a third on another, from two thirds on the first
  kMixture,          // four domains at once, their weights walking at random
};

/// "none", "one-way", "alternating", "switch-and-return", "mixture".
std::vector<std::string_view> SyntheticDriftNames();
/// Fails with kInvalidArgument, with the list, for another name.
Result<SyntheticDrift> ParseSyntheticDrift(std::string_view name);

struct SyntheticSpec {
  SyntheticDrift drift = SyntheticDrift::kNone;
  int num_bins = 96;
  int num_layers = 4;
  int num_experts = 64;
  int64_t pairs_per_bin = 16384;  // (token, expert) pairs of a layer
  double sigma = 1.0;             // of the logarithm of an expert's popularity
  int period = 8;                 // bins; only kAlternating looks at it
  uint64_t seed = 0;

  /// Fails with kInvalidArgument naming the field and its range.
  Status Validate() const;
};

/// Whole tokens, [num_bins, one phase, num_layers, num_experts]; each layer and bin sums to
/// pairs_per_bin.
Result<LoadWindow> MakeSyntheticTrace(const SyntheticSpec& spec);

}  // namespace steelyard
