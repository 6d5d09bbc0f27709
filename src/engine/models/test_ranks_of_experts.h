// A small group of ranks with real balancers and random experts, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/compute/panel_kernel.h"
#include "engine/models/expert_buffers.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/comm/inproc.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

inline Placement MakePlacement(int num_ranks, int num_experts, std::vector<int32_t> slots,
                               int num_layers) {
  const int num_slots = static_cast<int>(slots.size()) / num_layers;
  return *Placement::Create(*Topology::Create(num_ranks, num_slots / num_ranks), num_experts,
                            std::move(slots), DuplicateRule::kRefuse);
}

inline Placement MakeContiguous(int num_ranks, int slots_per_rank, int num_layers,
                                int num_experts) {
  return *Placement::Contiguous(*Topology::Create(num_ranks, slots_per_rank), num_layers,
                                num_experts);
}

/// Weights that depend on layer and expert alone.
inline ExpertSource RandomExperts() {
  return [](int layer, int expert, std::span<float> gate_up, std::span<float> down) {
    std::minstd_rand random(1000 * layer + expert + 1);
    std::uniform_real_distribution<float> value(-1, 1);
    for (float& weight : gate_up) weight = value(random);
    for (float& weight : down) weight = value(random);
    return Status::Ok();
  };
}

/// One rank, ready to step.
struct TestRank {
  std::unique_ptr<Communicator> comm;
  std::unique_ptr<GemmKernel> kernel;
  std::unique_ptr<ExpertBuffers> buffers;
  std::unique_ptr<Balancer> balancer;
};

/// Ranks of a group that keeps `placement`.
inline std::vector<TestRank> MakeTestRanks(const Placement& placement, const ExpertShape& shape) {
  std::vector<TestRank> ranks;
  for (auto& end : MakeInprocGroup(placement.topology().num_ranks())) {
    TestRank rank;
    rank.comm = std::move(end);
    rank.kernel = MakePanelKernel(ComputeType::kF32, BestIsa());
    EXPECT_TRUE(rank.kernel->Prepare(shape.gate_up(), 256).ok());
    EXPECT_TRUE(rank.kernel->Prepare(shape.down(), 256).ok());
    rank.buffers = std::make_unique<ExpertBuffers>(shape, *rank.kernel, placement, 1);
    EXPECT_TRUE(rank.buffers->Load(placement, rank.comm->rank(), RandomExperts()).ok());
    BalancerOptions options;
    options.mode = BalanceMode::kStatic;
    BalancerHost host;
    host.comm = rank.comm.get();
    host.store = rank.buffers.get();
    Result<std::unique_ptr<Balancer>> balancer = Balancer::Create(options, host, placement);
    EXPECT_TRUE(balancer.ok()) << balancer.status().ToString();
    rank.balancer = *std::move(balancer);
    ranks.push_back(std::move(rank));
  }
  return ranks;
}

}  // namespace steelyard
