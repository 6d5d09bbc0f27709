#include "steelyard/plan/policy.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "plan/deepseek_policy.h"
#include "plan/random_policy.h"
#include "plan/static_policy.h"
#include "plan/steelyard_policy.h"

namespace steelyard {
namespace {

struct NamedPolicy {
  std::string_view name;
  std::unique_ptr<Policy> (*make)();
};

constexpr std::array kPolicies = {
    NamedPolicy{"steelyard", MakeSteelyardPolicy},
    NamedPolicy{"deepseek", MakeDeepseekPolicy},
    NamedPolicy{"random", MakeRandomPolicy},
    NamedPolicy{"static", MakeStaticPolicy},
};

double MeanOverLayers(const std::vector<LayerReport>& layers, double LayerReport::*figure) {
  double sum = 0.0;
  for (const LayerReport& layer : layers) {
    sum += layer.*figure;
  }
  return layers.empty() ? 1.0 : sum / static_cast<double>(layers.size());
}

std::string_view Plural(int64_t count) { return count == 1 ? "" : "s"; }

}  // namespace

Status PlanOptions::Validate() const {
  if (num_groups < 1) {
    return InvalidArgument(fmt::format("num_groups is {}, but must be at least 1", num_groups));
  }
  if (!(std::isfinite(price) && price >= 0.0)) {
    return InvalidArgument(fmt::format("price is {}, but must be finite and at least 0", price));
  }
  if (!(std::isfinite(gate) && gate >= 0.0)) {
    return InvalidArgument(fmt::format("gate is {}, but must be finite and at least 0", gate));
  }
  if (!(recency > 0.0 && recency <= 1.0)) {
    return InvalidArgument(fmt::format("recency is {}, but must be in (0, 1]", recency));
  }
  return Status::Ok();
}

std::string LayerReport::Reason() const {
  switch (verdict) {
    case LayerVerdict::kKeptByBound:
      return fmt::format("kept: imbalance {:.4f} is within the gate of the lower bound {:.4f}",
                         imbalance_before, lower_bound);
    case LayerVerdict::kKeptByPrice:
      return fmt::format("kept: no change of imbalance {:.4f} was worth its moves",
                         imbalance_before);
    case LayerVerdict::kKeptByPolicy:
      return "kept: the policy asks for no change";
    case LayerVerdict::kChanged:
      break;
  }
  return fmt::format("{}: imbalance {:.4f} to {:.4f} with {} move{}",
                     from_scratch ? "planned from scratch" : "changed", imbalance_before,
                     imbalance_after, moves, Plural(moves));
}

double Plan::imbalance_before() const {
  return MeanOverLayers(layers, &LayerReport::imbalance_before);
}
double Plan::imbalance_after() const {
  return MeanOverLayers(layers, &LayerReport::imbalance_after);
}
double Plan::lower_bound() const { return MeanOverLayers(layers, &LayerReport::lower_bound); }

std::string Plan::ToString() const {
  return fmt::format(
      "{} layers: imbalance {:.4f} to {:.4f} (bound {:.4f}) with {} move{}, {} duplicate{}, digest "
      "{:016x}",
      layers.size(), imbalance_before(), imbalance_after(), lower_bound(), moves, Plural(moves),
      duplicates, Plural(duplicates), digest);
}

Result<std::unique_ptr<Policy>> MakePolicy(std::string_view name) {
  for (const NamedPolicy& policy : kPolicies) {
    if (policy.name == name) {
      return policy.make();
    }
  }
  std::string message = fmt::format("policy '{}' is not one of", name);
  const char* separator = " ";
  for (std::string_view known : PolicyNames()) {
    message.append(separator).append(known);
    separator = ", ";
  }
  return InvalidArgument(std::move(message));
}

std::vector<std::string_view> PolicyNames() {
  std::vector<std::string_view> names;
  for (const NamedPolicy& policy : kPolicies) {
    names.push_back(policy.name);
  }
  return names;
}

}  // namespace steelyard
