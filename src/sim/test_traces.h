// Small traces for the tests of this folder.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

/// `rows` [num_bins][num_experts] of one layer.
inline LoadWindow OneLayerTrace(const std::vector<std::vector<double>>& rows) {
  std::vector<double> counts;
  for (const std::vector<double>& row : rows) counts.insert(counts.end(), row.begin(), row.end());
  return LoadWindow::Create({static_cast<int>(rows.size()), 1, 1, static_cast<int>(rows[0].size())},
                            std::move(counts))
      .value();
}

/// Counts in [0, 1000), one in eight of them 0.
inline LoadWindow RandomTrace(const LoadShape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> counts(shape.num_counts());
  for (double& count : counts) {
    count = random() % 8 == 0 ? 0.0 : static_cast<double>(random() % 1000);
  }
  return LoadWindow::Create(shape, std::move(counts)).value();
}

inline Placement ContiguousOn(int num_ranks, int slots_per_rank, const LoadShape& shape) {
  const Topology topology = Topology::Create(num_ranks, slots_per_rank).value();
  return Placement::Contiguous(topology, shape.num_layers, shape.num_experts).value();
}

}  // namespace steelyard
