#include "engine/models/moe_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <thread>

#include "base/test_scale.h"
#include "engine/compute/ops.h"
#include "engine/models/test_ranks_of_experts.h"

namespace steelyard {
namespace {

using testing::HasSubstr;

constexpr ExpertShape kExpert = {16, 8};
constexpr int kTopK = 2;

struct Tokens {
  int num_rows = 0;
  std::vector<float> hidden;
  std::vector<int32_t> experts;
  std::vector<float> weights;
  std::vector<Phase> phases;

  RoutedRows rows(int layer) const {
    return {layer, num_rows, hidden.data(), experts.data(), weights.data(), phases.data()};
  }
};

Tokens RandomTokens(int num_rows, int num_experts, uint32_t seed) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  Tokens tokens;
  tokens.num_rows = num_rows;
  for (int row = 0; row < num_rows; ++row) {
    for (int i = 0; i < kExpert.hidden; ++i) tokens.hidden.push_back(value(random));
    const int first = static_cast<int>(random() % num_experts);
    tokens.experts.push_back(first);
    tokens.experts.push_back(
        static_cast<int>((first + 1 + random() % (num_experts - 1)) % num_experts));
    for (int k = 0; k < kTopK; ++k) tokens.weights.push_back(value(random));
    tokens.phases.push_back(random() % 2 == 0 ? Phase::kPrefill : Phase::kDecode);
  }
  return tokens;
}

MoeShape ShapeOf(const Placement& placement, int max_rows) {
  return {kExpert.hidden,
          placement.num_experts(),
          kTopK,
          placement.topology().num_ranks(),
          placement.topology().slots_per_rank(),
          max_rows};
}

/// What the layer should give, expert by expert on one thread, with the same kernel.
std::vector<float> Expected(const Tokens& tokens, int layer) {
  const auto kernel = MakePanelKernel(ComputeType::kF32, BestIsa());
  EXPECT_TRUE(kernel->Prepare(kExpert.gate_up(), 1).ok());
  EXPECT_TRUE(kernel->Prepare(kExpert.down(), 1).ok());
  const int h = kExpert.hidden;
  std::vector<float> gate_up(2 * kExpert.intermediate * h);
  std::vector<float> down(kExpert.intermediate * h);
  AlignedArray<std::byte> packed_up(kernel->PackedBytes(kExpert.gate_up()));
  AlignedArray<std::byte> packed_down(kernel->PackedBytes(kExpert.down()));
  std::vector<float> wide(2 * kExpert.intermediate);
  std::vector<float> active(kExpert.intermediate);
  std::vector<float> out(h);
  std::vector<float> sums(tokens.hidden.size(), 0.0F);
  for (int row = 0; row < tokens.num_rows; ++row) {
    for (int k = 0; k < kTopK; ++k) {
      const int at = row * kTopK + k;
      EXPECT_TRUE(RandomExperts()(layer, tokens.experts[at], gate_up, down).ok());
      kernel->Pack(kExpert.gate_up(), gate_up, packed_up.span());
      kernel->Pack(kExpert.down(), down, packed_down.span());
      kernel->Multiply(kExpert.gate_up(), packed_up.data(), &tokens.hidden[row * h], 1,
                       wide.data());
      SiluAndMultiply(wide.data(), 1, kExpert.intermediate, active.data());
      kernel->Multiply(kExpert.down(), packed_down.data(), active.data(), 1, out.data());
      AddScaled(out.data(), tokens.weights[at], h, &sums[row * h]);
    }
  }
  return sums;
}

/// One step of one layer on all ranks.
std::vector<Status> RunStep(std::vector<TestRank>& ranks, const MoeShape& shape, int layer,
                            const std::vector<Tokens>& tokens,
                            std::vector<std::vector<float>>* outs,
                            std::vector<bool>* more_work = nullptr) {
  std::vector<Status> statuses(ranks.size());
  std::vector<std::unique_ptr<MoeExchange>> exchanges;
  for (TestRank& rank : ranks) {
    exchanges.push_back(std::make_unique<MoeExchange>(shape, *rank.comm, *rank.buffers,
                                                      *rank.kernel, std::chrono::seconds(60)));
  }
  std::vector<std::thread> threads;
  outs->resize(ranks.size());
  for (size_t r = 0; r < ranks.size(); ++r) {
    (*outs)[r].resize(tokens[r].hidden.size());
    threads.emplace_back([&, r] {
      exchanges[r]->BeginStep(more_work != nullptr && (*more_work)[r]);
      ranks[r].balancer->BeginStep();
      statuses[r] = exchanges[r]->Run(tokens[r].rows(layer), *ranks[r].balancer, (*outs)[r].data());
      if (!statuses[r].ok()) ranks[r].comm->Abort(statuses[r]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (more_work != nullptr) {
    for (size_t r = 0; r < ranks.size(); ++r) (*more_work)[r] = exchanges[r]->more_work();
  }
  return statuses;
}

TEST(MoeExchange, EveryTokenGetsTheBitsOfItsExpertsWhereverTheyAre) {
  for (int seed = 0; seed < Scaled(20); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::minstd_rand random(seed + 1);
    const int num_ranks = 1 + static_cast<int>(random() % 4);
    const int num_experts = 4 + static_cast<int>(random() % 5);
    const int slots = std::min(
        num_experts, (num_experts + num_ranks - 1) / num_ranks + static_cast<int>(random() % 3));
    const Placement placement = MakeContiguous(num_ranks, slots, 2, num_experts);
    std::vector<TestRank> ranks = MakeTestRanks(placement, kExpert);
    std::vector<Tokens> tokens;
    for (int r = 0; r < num_ranks; ++r) {
      // Some ranks have nothing in a step.
      tokens.push_back(RandomTokens(static_cast<int>(random() % 4) * 17, num_experts, random()));
    }
    std::vector<std::vector<float>> outs;
    for (const Status& status : RunStep(ranks, ShapeOf(placement, 64), 1, tokens, &outs)) {
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    int64_t recorded = 0;
    int64_t sent = 0;
    for (int r = 0; r < num_ranks; ++r) {
      EXPECT_EQ(outs[r], Expected(tokens[r], 1)) << "rank " << r;
      const auto loads = ranks[r].balancer->loads();
      recorded = std::accumulate(loads.begin(), loads.end(), recorded);
      sent += int64_t{tokens[r].num_rows} * kTopK;
    }
    EXPECT_EQ(recorded, sent);
  }
}

TEST(MoeExchange, EveryRankLearnsThatOneHasMoreWork) {
  const Placement placement = MakeContiguous(3, 2, 1, 4);
  const std::vector<Tokens> tokens(3);
  std::vector<std::vector<float>> outs;
  for (const bool some : {false, true}) {
    std::vector<TestRank> ranks = MakeTestRanks(placement, kExpert);
    std::vector<bool> more_work = {false, some, false};
    RunStep(ranks, ShapeOf(placement, 8), 0, tokens, &outs, &more_work);
    EXPECT_EQ(more_work, std::vector<bool>(3, some));
  }
}

TEST(MoeExchange, ABufferWithTheWrongExpertIsNeverUsed) {
  const Placement placement = MakeContiguous(2, 2, 1, 4);
  std::vector<TestRank> ranks = MakeTestRanks(placement, kExpert);
  // Rank 1 holds experts 2 and 3; its first buffer now says it holds expert 0.
  auto* header = reinterpret_cast<BundleHeader*>(ranks[1].buffers->bundle(0, 0).data());
  header->expert = 0;
  Tokens tokens = RandomTokens(1, 4, 1);
  tokens.experts = {1, 2};
  std::vector<std::vector<float>> outs;
  const std::vector<Status> statuses =
      RunStep(ranks, ShapeOf(placement, 8), 0, {tokens, Tokens{}}, &outs);
  EXPECT_EQ(statuses[1].code(), StatusCode::kInternal);
  EXPECT_THAT(statuses[1].message(),
              HasSubstr("rank 1, MoE layer 0: buffer 0 should hold expert 2 but holds expert 0"));
  EXPECT_FALSE(statuses[0].ok()) << "the group is broken";
}

TEST(MoeExchange, RanksWithDifferentTablesDoNotTalk) {
  // Both are valid by themselves, but expert 3 is in another slot.
  const Placement mine = MakePlacement(2, 4, {0, 1, 2, 3}, 1);
  const Placement other = MakePlacement(2, 4, {0, 1, 3, 2}, 1);
  std::vector<TestRank> ranks = MakeTestRanks(mine, kExpert);
  std::vector<TestRank> others = MakeTestRanks(other, kExpert);
  ranks[1].balancer = std::move(others[1].balancer);
  Tokens tokens = RandomTokens(1, 4, 1);
  tokens.experts = {3, 0};
  std::vector<std::vector<float>> outs;
  const std::vector<Status> statuses =
      RunStep(ranks, ShapeOf(mine, 8), 0, {tokens, Tokens{}}, &outs);
  EXPECT_THAT(statuses[1].message(),
              HasSubstr("rank 0 sent a token of expert 3 to slot 1, which holds expert 2"));
}

// ---- Blocks that cannot be.

class Blocks : public testing::Test {
 protected:
  Blocks() : routing_(4, 4) {
    const std::vector<int32_t> slots = {0, 1, 2, 3};
    routing_.Assign(4, slots, {});
    Tokens tokens = RandomTokens(3, 4, 7);
    DispatchPacker packer(shape_, 0);
    packer.Pack(tokens.rows(5), id_, routing_);
    bytes_ = AlignedArray<std::byte>(packer.send_bytes()[0]);
    std::memcpy(bytes_.data(), packer.send().data(), bytes_.size());
  }

  std::string Refusal(const DispatchId& id) const {
    return ParseBlock(bytes_.span(), shape_, id, 1, 0).status().message();
  }
  BlockHeader* header() { return reinterpret_cast<BlockHeader*>(bytes_.data()); }

  const MoeShape shape_ = {kExpert.hidden, 4, kTopK, 1, 4, 8};
  const DispatchId id_ = {9, 100, 5, 0};
  RoutingTable routing_;
  AlignedArray<std::byte> bytes_;
};

TEST_F(Blocks, AreReadBack) {
  const Result<BlockView> view = ParseBlock(bytes_.span(), shape_, id_, 1, 0);
  ASSERT_TRUE(view.ok()) << view.status().ToString();
  EXPECT_EQ(view->items.size(), 6U);
  EXPECT_EQ(view->header.num_rows, 3U) << "a token goes once to a rank that holds both its experts";
}

TEST_F(Blocks, OfAnotherVersionOfTheTablesAreRefused) {
  DispatchId newer = id_;
  newer.version = 10;
  EXPECT_EQ(Refusal(newer),
            "step 100, rank 1, MoE layer 5: rank 0 dispatched with tables of version 9, here it is "
            "10");
}

TEST_F(Blocks, OfAnotherStepOrLayerAreRefused) {
  DispatchId later = id_;
  later.step = 101;
  EXPECT_THAT(Refusal(later), HasSubstr("rank 0 dispatched with step 100, here it is 101"));
  DispatchId other = id_;
  other.layer = 4;
  EXPECT_THAT(Refusal(other), HasSubstr("rank 0 dispatched with layer 5, here it is 4"));
}

TEST_F(Blocks, ThatDoNotHoldWhatTheySayAreRefused) {
  header()->num_items += 100;
  EXPECT_THAT(Refusal(id_), HasSubstr("says it has 106 items and 3 rows"));
  header()->num_items -= 100;
  header()->num_rows += 1;
  EXPECT_THAT(Refusal(id_), HasSubstr("says it has 6 items and 4 rows"));
  header()->num_rows -= 1;
  auto* item = reinterpret_cast<BlockItem*>(bytes_.data() + sizeof(BlockHeader));
  item->local_slot = 4;
  EXPECT_THAT(Refusal(id_), HasSubstr("has an item for row 0, slot 4"));
  item->local_slot = 0;
  item->row = 3;
  EXPECT_THAT(Refusal(id_), HasSubstr("has an item for row 3"));
  bytes_ = AlignedArray<std::byte>(8);
  EXPECT_THAT(Refusal(id_), HasSubstr("the block from rank 0 has only 8 bytes"));
}

}  // namespace
}  // namespace steelyard
