#include "plan/swift_board.h"

namespace steelyard {

void SwiftBoard::Reset(const Topology& topology, int num_experts) {
  const size_t num_ranks = topology.num_ranks();
  slots_per_rank = topology.slots_per_rank();
  slot_to_expert.assign(num_ranks * slots_per_rank, kNoExpert);
  home.assign(num_experts, -1);
  copies.assign(num_experts, 0);
  weight.assign(num_experts, 0.0F);
  rank_load.assign(num_ranks, 0.0F);
  presence_of.assign(num_ranks * num_experts, kAbsent);
  transfers.assign(num_ranks * num_ranks, 0);
}

void SwiftBoard::Receive(int rank, int slot, int32_t expert) {
  slots()(rank, slot) = expert;
  presence(rank, expert) = kReceived;
  transfer(home[expert], rank) = 1;
  ++copies[expert];
}

void SwiftBoard::SumRankLoads() {
  for (int rank = 0; rank < num_ranks(); ++rank) {
    float sum = 0.0F;
    for (const int32_t expert : slots().row(rank)) {
      if (expert != kNoExpert) {
        sum += weight[expert];
      }
    }
    rank_load[rank] = sum;
  }
}

}  // namespace steelyard
