#include "sim/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <span>
#include <utility>

namespace steelyard {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"none", "one-way", "alternating",
                                                    "switch-and-return", "mixture"};
constexpr int kMixtureDomains = 4;
constexpr double kMixtureStep = 0.15;  // of the logarithm of a domain's weight, each bin

using Random = std::mt19937_64;

// Popularity of every expert in every layer and domain, [num_domains][num_layers * num_experts],
// summing to 1 in each layer.
std::vector<std::vector<double>> MakeDomains(int num_domains, const SyntheticSpec& spec,
                                             Random& random) {
  std::vector<std::vector<double>> domains(num_domains);
  std::normal_distribution<double> normal(0.0, spec.sigma);
  for (std::vector<double>& domain : domains) {
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      double sum = 0.0;
      const size_t begin = domain.size();
      for (int expert = 0; expert < spec.num_experts; ++expert) {
        domain.push_back(std::exp(normal(random)));
        sum += domain.back();
      }
      for (size_t i = begin; i < domain.size(); ++i) domain[i] /= sum;
    }
  }
  return domains;
}

// How much of the traffic each domain has, bin by bin.
class Weights {
 public:
  explicit Weights(const SyntheticSpec& spec)
      : spec_(spec), logs_(spec.drift == SyntheticDrift::kMixture ? kMixtureDomains : 2, 0.0) {
    if (spec.drift == SyntheticDrift::kNone) logs_.resize(1);
  }

  int num_domains() const { return static_cast<int>(logs_.size()); }

  std::vector<double> Of(int bin, Random& random) {
    switch (spec_.drift) {
      case SyntheticDrift::kNone:
        break;
      case SyntheticDrift::kOneWay: {
        const double gone = spec_.num_bins > 1 ? bin / (spec_.num_bins - 1.0) : 0.0;
        return {1.0 - gone, gone};
      }
      case SyntheticDrift::kAlternating:
        return Only(bin / spec_.period % 2);
      case SyntheticDrift::kSwitchAndReturn:
        return Only(int64_t{3} * bin / spec_.num_bins == 1 ? 1 : 0);
      case SyntheticDrift::kMixture:
        return Walk(random);
    }
    return {1.0};
  }

 private:
  static std::vector<double> Only(int domain) {
    return domain == 0 ? std::vector<double>{1.0, 0.0} : std::vector<double>{0.0, 1.0};
  }

  std::vector<double> Walk(Random& random) {
    std::normal_distribution<double> normal(0.0, kMixtureStep);
    std::vector<double> weights;
    double sum = 0.0;
    for (double& log : logs_) {
      log += normal(random);
      weights.push_back(std::exp(log));
      sum += weights.back();
    }
    for (double& weight : weights) weight /= sum;
    return weights;
  }

  const SyntheticSpec& spec_;
  std::vector<double> logs_;  // [num_domains]
};

// A multinomial draw of `pairs`, expert by expert: each takes a binomial share of what is left.
void Draw(int64_t pairs, std::span<const double> popularity, Random& random,
          std::span<double> counts) {
  double left = 1.0;
  for (size_t expert = 0; expert < counts.size(); ++expert) {
    const bool last = expert + 1 == counts.size();
    const double share = left > 0.0 ? std::clamp(popularity[expert] / left, 0.0, 1.0) : 1.0;
    const int64_t drawn = last ? pairs : std::binomial_distribution<int64_t>(pairs, share)(random);
    counts[expert] = static_cast<double>(drawn);
    pairs -= drawn;
    left -= popularity[expert];
  }
}

}  // namespace

std::vector<std::string_view> SyntheticDriftNames() { return {kNames.begin(), kNames.end()}; }

Result<SyntheticDrift> ParseSyntheticDrift(std::string_view name) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) {
    return InvalidArgument(fmt::format("'{}' is not one of {}", name, fmt::join(kNames, ", ")));
  }
  return static_cast<SyntheticDrift>(found - kNames.begin());
}

Status SyntheticSpec::Validate() const {
  constexpr int64_t kMostPairs = (int64_t{1} << 32) - 1;  // what a count of a trace can hold
  for (const auto& [name, value] : {std::pair<std::string_view, int>{"num_bins", num_bins},
                                    {"num_layers", num_layers},
                                    {"num_experts", num_experts},
                                    {"period", period}}) {
    if (value < 1) {
      return InvalidArgument(fmt::format("{} is {}, but must be at least 1", name, value));
    }
  }
  constexpr double kMostCounts = 1 << 28;  // 2 GiB
  const double counts = 1.0 * num_bins * num_layers * num_experts;
  if (counts > kMostCounts) {
    return InvalidArgument(fmt::format("{} bins x {} layers x {} experts are more than {} counts",
                                       num_bins, num_layers, num_experts, kMostCounts));
  }
  if (pairs_per_bin < 0 || pairs_per_bin > kMostPairs) {
    return InvalidArgument(
        fmt::format("pairs_per_bin is {}, but must be in [0, {}]", pairs_per_bin, kMostPairs));
  }
  // Above 20 an expert's popularity can be so near to 0 or infinity that shares lose their meaning.
  if (!(sigma >= 0.0 && sigma <= 20.0)) {
    return InvalidArgument(fmt::format("sigma is {}, but must be in [0, 20]", sigma));
  }
  return Status::Ok();
}

Result<LoadWindow> MakeSyntheticTrace(const SyntheticSpec& spec) {
  STEELYARD_RETURN_IF_ERROR(spec.Validate());
  Random random(spec.seed);
  Weights weights(spec);
  const std::vector<std::vector<double>> domains = MakeDomains(weights.num_domains(), spec, random);
  LoadWindow trace({spec.num_bins, 1, spec.num_layers, spec.num_experts});
  std::vector<double> popularity(spec.num_experts);
  for (int bin = 0; bin < spec.num_bins; ++bin) {
    const std::vector<double> mixed = weights.Of(bin, random);
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      std::fill(popularity.begin(), popularity.end(), 0.0);
      for (size_t d = 0; d < domains.size(); ++d) {
        const size_t begin = static_cast<size_t>(layer) * spec.num_experts;
        for (int e = 0; e < spec.num_experts; ++e)
          popularity[e] += mixed[d] * domains[d][begin + e];
      }
      Draw(spec.pairs_per_bin, popularity, random, trace.experts(bin, 0, layer));
    }
  }
  return trace;
}

}  // namespace steelyard
