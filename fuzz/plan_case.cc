#include "fuzz/plan_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "plan/random_source.h"

namespace steelyard {
namespace {

// Contiguous, or with some slots exchanged, which can make duplicates.
std::optional<Placement> DrawPlacement(Choices& choices, const Topology& topology, int num_layers,
                                       int num_experts) {
  std::vector<int32_t> slot_to_expert;
  for (int layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
    std::vector<int32_t> row;
    for (int slot = 0, live = 0; slot < topology.num_slots(); ++slot) {
      row.push_back(topology.is_live_slot(slot) ? live++ % num_experts : kNoExpert);
    }
    for (int i = choices.Below(12); i > 0; --i) {
      int32_t& one = row[choices.Below(topology.num_slots())];
      int32_t& other = row[choices.Below(topology.num_slots())];
      if (one != kNoExpert && other != kNoExpert) std::swap(one, other);
    }
    slot_to_expert.insert(slot_to_expert.end(), row.begin(), row.end());
  }
  Result<Placement> placement =
      Placement::Create(topology, num_experts, std::move(slot_to_expert), DuplicateRule::kAllow);
  if (!placement.ok()) return std::nullopt;
  return *std::move(placement);
}

void DrawLimits(Choices& choices, PlanOptions& options) {
  const auto draw = [&choices](int64_t& limit, int high) {
    if (choices.OneIn(3)) limit = choices.Between(0, high);
  };
  draw(options.limits.moves, 12);
  draw(options.limits.per_rank_pair, 2);
  draw(options.limits.per_receiving_rank, 3);
  draw(options.limits.across_nodes, 3);
  if (choices.OneIn(4)) {
    options.expert_bytes = choices.Of({int64_t{10}, int64_t{0}, int64_t{1} << 60});
    options.limits.bytes =
        choices.Of({int64_t{35}, int64_t{0}, std::numeric_limits<int64_t>::max() - 1});
  }
}

// One field out of its range.
void BreakOptions(Choices& choices, PlanOptions& options) {
  constexpr double kBroken[] = {-1.0, std::numeric_limits<double>::quiet_NaN(),
                                std::numeric_limits<double>::infinity()};
  double* const fields[] = {&options.price, &options.gate, &options.recency, &options.rank_cost.a,
                            &options.rank_cost.d};
  *choices.Of(fields) = choices.Of(kBroken);
}

PlanOptions DrawOptions(Choices& choices) {
  PlanOptions options;
  options.predictor = choices.Of({Predictor::kAuto, Predictor::kLast, Predictor::kRecency,
                                  Predictor::kEma, Predictor::kPooled, Predictor::kPhases});
  options.price = choices.Of({0.08, 0.0, 0.5, 1e-9, 100.0});
  options.gate = choices.Of({0.005, 0.0, 0.1, 100.0});
  options.recency = choices.Of({0.7, 1.0, 0.01, 1e-300});
  options.seed = choices.Byte();
  if (choices.OneIn(3)) options.split = SplitRule::kWeighted;
  if (choices.OneIn(4)) {
    options.rank_cost = choices.Of({RankCost{.a = 0.0, .b = 1.0, .c = 0.0, .d = 0.0},
                                    RankCost{.a = 50.0, .b = 800.0, .c = 100.0, .d = 1.0},
                                    RankCost{.a = 0.0, .b = 0.0, .c = 0.0, .d = 3.0},
                                    RankCost{.a = 1e6, .b = 0.0, .c = 0.0, .d = 1.0}});
  }
  if (choices.OneIn(3)) DrawLimits(choices, options);
  if (choices.OneIn(4)) options.num_groups = choices.Between(1, 8);
  if (choices.OneIn(32)) BreakOptions(choices, options);
  return options;
}

void DrawLoads(Choices& choices, int kind, double tokens, std::span<double> experts) {
  RandomSource random(kind == 4 ? choices.Byte() : 0);
  for (double& load : experts) {
    switch (kind) {
      case 0:
        load = 7 * tokens;
        break;
      case 1:
        load = 0;
        break;
      case 2:  // sparse
        load = choices.OneIn(3) ? tokens : 0;
        break;
      case 3:
        load = choices.Byte() * tokens;
        break;
      case 4:
        load = std::floor(100 / (0.01 + random.Below(1000) / 1000.0)) * tokens;
        break;
      default:
        load = std::ldexp(tokens, choices.Below(24));
    }
  }
}

}  // namespace

std::optional<Topology> DrawTopology(Choices& choices, int num_experts) {
  TopologySpec spec;
  spec.num_ranks = choices.Between(1, 8);
  spec.num_nodes = choices.Of({1, 2, 4});
  const int fewest = (num_experts + spec.num_ranks - 1) / spec.num_ranks;
  spec.slots_per_rank = fewest + choices.Below(4);
  if (choices.OneIn(3)) {
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.rank_speed.push_back(choices.Of({1.0, 2.0, 3.0, 0.125, 1000.0}));
    }
  }
  if (choices.OneIn(3)) {
    for (int rank = 0; rank < spec.num_ranks; ++rank) {
      spec.slots_of_rank.push_back(std::max(1, spec.slots_per_rank - choices.Below(3)));
    }
  }
  if (choices.OneIn(3)) spec.dead_ranks.push_back(choices.Below(spec.num_ranks));
  Result<Topology> topology = Topology::Create(spec);
  if (!topology.ok()) return std::nullopt;
  return *topology;
}

std::optional<PlanCase> DrawPlanCase(Choices& choices) {
  const std::vector<std::string_view> names = PolicyNames();
  const std::string_view policy = names[choices.Below(static_cast<int>(names.size()))];
  const LoadShape shape = {.num_bins = choices.Between(1, 3),
                           .num_phases = choices.Between(1, 2),
                           .num_layers = choices.Between(1, 3),
                           .num_experts = choices.Between(1, 16)};
  const std::optional<Topology> before = DrawTopology(choices, shape.num_experts);
  if (!before.has_value()) return std::nullopt;
  const std::optional<Topology> target =
      choices.OneIn(4) ? DrawTopology(choices, shape.num_experts) : before;
  std::optional<Placement> current =
      DrawPlacement(choices, *before, shape.num_layers, shape.num_experts);
  if (!current.has_value() || !target.has_value()) return std::nullopt;
  PlanCase plan_case = {
      .policy = policy, .shape = shape, .current = *std::move(current), .target = *target};
  plan_case.options = DrawOptions(choices);
  plan_case.num_cycles = choices.Between(1, 4);
  plan_case.tokens = choices.Of({1.0, 0.001, 1e9});
  return plan_case;
}

LoadWindow DrawWindow(Choices& choices, const LoadShape& shape, double tokens) {
  LoadWindow window(shape);
  for (int bin = 0; bin < shape.num_bins; ++bin) {
    for (int phase = 0; phase < shape.num_phases; ++phase) {
      for (int layer_idx = 0; layer_idx < shape.num_layers; ++layer_idx) {
        DrawLoads(choices, choices.Below(6), tokens, window.experts(bin, phase, layer_idx));
      }
    }
  }
  return window;
}

}  // namespace steelyard
