// Reads the outputs of published planners that tests/data/golden keeps.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// The cases of a file; empty, and the test fails, where it cannot be read.
inline Json GoldenCases(const std::string& name) {
  const std::filesystem::path path =
      std::filesystem::path(STEELYARD_SOURCE_DIR) / "tests/data/golden" / name;
  Result<Json> json = ReadJsonFile(path);
  EXPECT_TRUE(json.ok()) << json.status().ToString();
  return json.ok() ? (*json)["cases"] : Json::array();
}

/// One bin and one phase of `loads` [num_layers][num_experts].
inline LoadWindow GoldenWindow(const Json& loads) {
  std::vector<double> counts;
  for (const Json& layer : loads) {
    for (const Json& tokens : layer) {
      counts.push_back(tokens);
    }
  }
  const auto num_layers = static_cast<int>(loads.size());
  const auto num_experts = static_cast<int>(loads[0].size());
  return LoadWindow::Create({1, 1, num_layers, num_experts}, std::move(counts)).value();
}

/// A layer's experts by slot, whether the file lists them flat or rank by rank.
inline std::vector<int32_t> GoldenSlots(const Json& layer) {
  std::vector<int32_t> slots;
  for (const Json& entry : layer) {
    if (entry.is_array()) {
      for (const Json& expert : entry) {
        slots.push_back(expert);
      }
    } else {
      slots.push_back(entry);
    }
  }
  return slots;
}

inline Placement GoldenPlacement(const Json& layers, const Topology& topology, int num_experts) {
  std::vector<int32_t> slots;
  for (const Json& layer : layers) {
    const std::vector<int32_t> row = GoldenSlots(layer);
    slots.insert(slots.end(), row.begin(), row.end());
  }
  return Placement::Create(topology, num_experts, std::move(slots), DuplicateRule::kAllow).value();
}

/// A plan on one window. `input` need not say which.
inline Plan GoldenPlan(Policy& policy, const LoadWindow& window, PlanInput input) {
  input.history = {&window, 1};
  PolicyState state;
  Result<Plan> plan = policy.MakePlan(input, state, {});
  return std::move(plan).value();
}

/// Compares slot for slot.
inline void ExpectGolden(const Placement& placement, const Json& layers) {
  ASSERT_EQ(placement.num_layers(), static_cast<int>(layers.size()));
  for (int layer_idx = 0; layer_idx < placement.num_layers(); ++layer_idx) {
    const std::span<const int32_t> row = placement.slot_to_expert(layer_idx);
    ASSERT_EQ(std::vector<int32_t>(row.begin(), row.end()), GoldenSlots(layers[layer_idx]))
        << "layer " << layer_idx;
  }
}

}  // namespace steelyard
