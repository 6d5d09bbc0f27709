// The reference's own windows. Its compiled code may round and break ties otherwise, so plans are
// compared by what they are worth.
#include <fmt/format.h>

#include <algorithm>

#include "plan/golden_test_util.h"

namespace steelyard {
namespace {

LoadWindow Window(const Json& golden) {
  std::vector<double> counts;
  for (const Json& bin : golden["expert_load"]) {
    for (const Json& layer : bin) {
      for (const Json& tokens : layer) {
        counts.push_back(tokens);
      }
    }
  }
  return LoadWindow::Create({golden["num_bins"], 1, golden["num_layers"], golden["num_experts"]},
                            std::move(counts))
      .value();
}

/// The mean over bins and layers of max / mean rank load.
double Objective(const LoadWindow& window, const Placement& placement) {
  const LoadShape& shape = window.shape();
  double sum = 0;
  for (int layer_idx = 0; layer_idx < shape.num_layers; ++layer_idx) {
    const std::span<const int32_t> slots = placement.slot_to_expert(layer_idx);
    for (int t = 0; t < shape.num_bins; ++t) {
      const std::span<const double> loads = window.experts(t, 0, layer_idx);
      std::vector<double> ranks(placement.topology().num_ranks());
      double total = 0;
      for (size_t slot = 0; slot < slots.size(); ++slot) {
        const auto copies = std::count(slots.begin(), slots.end(), slots[slot]);
        const double load = loads[slots[slot]] / static_cast<double>(copies);
        ranks[placement.topology().rank_of_slot(static_cast<int>(slot))] += load;
        total += load;
      }
      sum +=
          *std::max_element(ranks.begin(), ranks.end()) * static_cast<double>(ranks.size()) / total;
    }
  }
  return sum / (shape.num_layers * shape.num_bins);
}

std::vector<int> WantedLayers(const Plan& plan) {
  std::vector<int> wanted;
  for (size_t layer_idx = 0; layer_idx < plan.layers.size(); ++layer_idx) {
    if (plan.layers[layer_idx].wanted) wanted.push_back(static_cast<int>(layer_idx));
  }
  return wanted;
}

TEST(FlashlbGolden, PlansAreWorthWhatTheReferencesAre) {
  const Json cases = GoldenCases("flashlb.json");
  ASSERT_EQ(cases.size(), 11U);
  const std::unique_ptr<Policy> policy = MakePolicy("flashlb").value();
  PolicyState state;
  std::string run;
  for (const Json& golden : cases) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    if (golden["run"] != run) {
      run = golden["run"];
      state = {};
    }
    const LoadWindow window = Window(golden);
    const Topology topology =
        Topology::Create(golden["num_ranks"], golden["slots_per_rank"]).value();
    const int num_experts = golden["num_experts"];
    const Placement current = GoldenPlacement(golden["old_placement"], topology, num_experts);
    const Placement reference = GoldenPlacement(golden["new_placement"], topology, num_experts);
    const PlanInput input{.current = &current, .history = {&window, 1}};
    const Result<Plan> plan = policy->MakePlan(input, state, {});
    ASSERT_TRUE(plan.ok()) << plan.status().ToString();

    const double ours = Objective(window, plan->placement);
    const double theirs = Objective(window, reference);
    const auto their_moves = static_cast<double>(CountMoves(current, reference));
    EXPECT_NEAR(ours, theirs, 0.01 * theirs);
    EXPECT_NEAR(static_cast<double>(plan->moves), their_moves, 0.1 * their_moves);
    EXPECT_EQ(plan->duplicates, 0);
    auto wanted = golden["priority"].get<std::vector<int>>();
    std::sort(wanted.begin(), wanted.end());
    EXPECT_EQ(WantedLayers(*plan), wanted);
    RecordProperty(golden["name"].get<std::string>(),
                   fmt::format("objective {:.4f} for {:.4f}, moves {} for {}", ours, theirs,
                               plan->moves, their_moves));
  }
}

}  // namespace
}  // namespace steelyard
