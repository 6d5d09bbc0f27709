#include "plan/random_policy.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "plan/policy_base.h"
#include "plan/random_source.h"

namespace steelyard {
namespace {

/// Deals one layer. Copies are dealt expert by expert from a shuffled deck that holds each rank
/// once; an empty deck is shuffled anew. All ranks thus fill up alike, and an expert, which never
/// has more copies than there are ranks, meets a rank twice only where its copies span two decks;
/// there the second deck is cut so that ranks which have it come later.
class Dealer {
 public:
  void Deal(const Topology& topology, RandomSource random, std::span<int32_t> slot_to_expert,
            int num_experts) {
    ChooseCopies(topology, random, num_experts);
    order_.resize(num_experts);
    std::iota(order_.begin(), order_.end(), 0);
    random.Shuffle(std::span<int32_t>(order_));
    deck_.resize(topology.num_ranks());
    std::iota(deck_.begin(), deck_.end(), 0);
    used_.assign(topology.num_ranks(), 0);
    last_expert_.assign(topology.num_ranks(), -1);

    size_t next = deck_.size();
    for (int32_t expert : order_) {
      for (int32_t copy = 0; copy < copies_[expert]; ++copy) {
        if (next == deck_.size()) {
          random.Shuffle(std::span<int32_t>(deck_));
          next = 0;
        }
        BringForwardRankWithout(expert, next);
        const int32_t rank = deck_[next++];
        slot_to_expert[topology.first_slot_of_rank(rank) + used_[rank]++] = expert;
        last_expert_[rank] = expert;
      }
    }
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      random.Shuffle(slot_to_expert.subspan(topology.first_slot_of_rank(rank),
                                            static_cast<size_t>(topology.slots_per_rank())));
    }
  }

 private:
  /// One copy of each expert, and every further slot to one drawn among those that are not on all
  /// ranks yet.
  void ChooseCopies(const Topology& topology, RandomSource& random, int num_experts) {
    copies_.assign(num_experts, 1);
    open_.clear();
    if (topology.num_ranks() > 1) {
      open_.resize(num_experts);
      std::iota(open_.begin(), open_.end(), 0);
    }
    for (int slot = num_experts; slot < topology.num_slots(); ++slot) {
      const uint32_t drawn = random.Below(static_cast<uint32_t>(open_.size()));
      if (++copies_[open_[drawn]] == topology.num_ranks()) {
        open_[drawn] = open_.back();
        open_.pop_back();
      }
    }
  }

  void BringForwardRankWithout(int32_t expert, size_t next) {
    size_t found = next;
    while (last_expert_[deck_[found]] == expert) {
      ++found;
    }
    std::swap(deck_[next], deck_[found]);
  }

  std::vector<int32_t> copies_;       // [num_experts]
  std::vector<int32_t> open_;         // experts that may get another copy
  std::vector<int32_t> order_;        // [num_experts] in which they are dealt
  std::vector<int32_t> deck_;         // [num_ranks]
  std::vector<int32_t> used_;         // [num_ranks] slots filled
  std::vector<int32_t> last_expert_;  // [num_ranks] dealt last to the rank
};

/// One stream of numbers per (seed, plan, layer): each passes through the mixer, so that neighbours
/// have nothing in common.
RandomSource SourceOf(uint64_t seed, uint64_t plan_idx, uint64_t layer_idx) {
  return RandomSource(
      RandomSource(RandomSource(RandomSource(seed).Next() ^ plan_idx).Next() ^ layer_idx).Next());
}

class RandomPolicy final : public LayerwisePolicy {
 public:
  RandomPolicy() : LayerwisePolicy("random") {}

 private:
  void PrepareWorkers(const Placement& /*current*/, const LoadShape& /*window_shape*/,
                      int num_workers) override {
    dealers_.resize(std::max<size_t>(dealers_.size(), num_workers));
  }

  Status Begin(const PlanInput& /*input*/, PolicyState& state) override {
    plan_idx_ = state.values.empty() ? 0 : static_cast<uint64_t>(state.values[0]);
    state = {.values = {static_cast<double>(plan_idx_ + 1)}};
    return Status::Ok();
  }

  void PlaceLayer(const PlanInput& input, int layer_idx, int worker_idx, PolicyState& /*state*/,
                  std::span<int32_t> slot_to_expert) override {
    dealers_[worker_idx].Deal(input.current->topology(),
                              SourceOf(input.options.seed, plan_idx_, layer_idx), slot_to_expert,
                              input.current->num_experts());
  }

  void Judge(std::span<LayerDecision> /*decisions*/) const override {}

  std::vector<Dealer> dealers_;  // [num_workers]
  uint64_t plan_idx_ = 0;        // how many plans came before
};

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy() { return std::make_unique<RandomPolicy>(); }

}  // namespace steelyard
