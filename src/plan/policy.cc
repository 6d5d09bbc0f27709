#include "steelyard/plan/policy.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "plan/deepseek_policy.h"
#include "plan/flashlb_policy.h"
#include "plan/plan_builder.h"
#include "plan/random_policy.h"
#include "plan/static_policy.h"
#include "plan/steelyard_policy.h"
#include "plan/swift_policy.h"
#include "plan/vllm_policy.h"

namespace steelyard {
namespace {

struct NamedPolicy {
  std::string_view name;
  std::unique_ptr<Policy> (*make)();
};

constexpr std::array kPolicies = {
    NamedPolicy{"steelyard", MakeSteelyardPolicy}, NamedPolicy{"deepseek", MakeDeepseekPolicy},
    NamedPolicy{"vllm", MakeVllmPolicy},           NamedPolicy{"swift", MakeSwiftPolicy},
    NamedPolicy{"flashlb", MakeFlashlbPolicy},     NamedPolicy{"random", MakeRandomPolicy},
    NamedPolicy{"static", MakeStaticPolicy},
};

double MeanOverLayers(const std::vector<LayerReport>& layers, double LayerReport::*figure) {
  double sum = 0.0;
  for (const LayerReport& layer : layers) {
    sum += layer.*figure;
  }
  return layers.empty() ? 1.0 : sum / static_cast<double>(layers.size());
}

Status CheckCost(const RankCost& cost) {
  for (const double term : {cost.a, cost.b, cost.c, cost.d}) {
    if (!(std::isfinite(term) && term >= 0.0)) {
      return InvalidArgument(
          fmt::format("a term of rank_cost is {}, but must be finite and at least 0", term));
    }
  }
  if (cost.b == 0.0 && cost.d == 0.0) {
    return InvalidArgument("rank_cost depends on neither active experts nor tokens");
  }
  return Status::Ok();
}

Status CheckLimits(const MoveLimits& limits, int64_t expert_bytes) {
  for (const int64_t limit : {limits.moves, limits.bytes, limits.per_rank_pair,
                              limits.per_receiving_rank, limits.across_nodes}) {
    if (limit < 0) {
      return InvalidArgument(fmt::format("a limit of {} is negative", limit));
    }
  }
  if (expert_bytes < 0) {
    return InvalidArgument(fmt::format("expert_bytes is {}, but must be at least 0", expert_bytes));
  }
  if (limits.bytes != MoveLimits::kNone && expert_bytes == 0) {
    return InvalidArgument("a limit in bytes needs expert_bytes");
  }
  return Status::Ok();
}

std::string_view Plural(int64_t count) { return count == 1 ? "" : "s"; }

// Half of the last digit that reasons show.
constexpr double kVisible = 0.00005;

std::string WhyKept(const LayerReport& report) {
  switch (report.verdict) {
    case LayerVerdict::kKeptByBound:
      return fmt::format("imbalance {:.4f} is within the gate of the lower bound {:.4f}",
                         report.imbalance_after, report.lower_bound);
    case LayerVerdict::kKeptByPrice:
      return fmt::format("no change of imbalance {:.4f} was worth its moves",
                         report.imbalance_after);
    case LayerVerdict::kKeptByLimit:
      return fmt::format("{} forbids what imbalance {:.4f} would be worth", LimitText(report.limit),
                         report.imbalance_after);
    case LayerVerdict::kKeptByPolicy:
    case LayerVerdict::kChanged:
      break;
  }
  return "the policy asks for no change";
}

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
  STEELYARD_RETURN_IF_ERROR(CheckCost(rank_cost));
  return CheckLimits(limits, expert_bytes);
}

std::string LayerReport::Reason() const {
  if (verdict == LayerVerdict::kChanged) {
    std::string text = fmt::format("{}: imbalance {:.4f} to {:.4f} with {} move{}",
                                   from_scratch ? "planned from scratch" : "changed",
                                   imbalance_before, imbalance_after, moves, Plural(moves));
    if (limit != BindingLimit::kNone) {
      text += fmt::format("; limited: {} forbids more", LimitText(limit));
    }
    return text;
  }
  std::string text = "kept: " + WhyKept(*this);
  if (std::fabs(imbalance_after - imbalance_before) > kVisible) {
    text += fmt::format("; shares alone bring it from {:.4f} to {:.4f}", imbalance_before,
                        imbalance_after);
  }
  return text;
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
