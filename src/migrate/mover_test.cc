#include "migrate/mover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/test_scale.h"
#include "comm/fault.h"
#include "comm/test_ranks.h"
#include "migrate/test_placements.h"
#include "migrate/test_store.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

LoadWindow FlatLoads(const Placement& placement) {
  const LoadShape shape{1, 1, placement.num_layers(), placement.num_experts()};
  return LoadWindow::Create(shape, std::vector<double>(shape.num_counts(), 1.0)).value();
}

// All ranks of a group on one thread, driven in turn: the mover never waits, so the order of events
// is the test's.
class Group {
 public:
  Group(const Placement& initial, MoverOptions options, std::vector<FaultPlan> faults,
        size_t bundle_bytes = 192)
      : initial_(initial) {
    faults.resize(initial.topology().num_ranks());
    ends_ = AddFaults(MakeInprocGroup(initial.topology().num_ranks()), faults);
    for (auto& end : ends_) {
      stores_.push_back(
          std::make_unique<TestStore>(initial, end->rank(), bundle_bytes, options.staging_buffers));
      movers_.push_back(Mover::Create(end.get(), stores_.back().get(), initial, options).value());
    }
  }

  void Begin(uint64_t cycle, const Placement& to, int staging) {
    const Placement from = movers_[0]->placement();
    for (auto& mover : movers_)
      mover->Begin(cycle, PlanMigration(from, to, FlatLoads(to), staging));
  }

  // Pumps until every rank has its part of the round, or nothing changes any more.
  bool FinishRound(size_t budget = 64) {
    for (int turn = 0; turn < 2000; ++turn) {
      bool complete = true;
      for (auto& mover : movers_) {
        mover->Pump(budget);
        complete = complete && mover->RoundComplete();
      }
      if (complete) return true;
    }
    return false;
  }

  void Commit() {
    for (auto& mover : movers_) mover->CommitRound();
  }
  void Abandon() {
    for (auto& mover : movers_) mover->Abandon();
  }
  void PumpAll(size_t budget = 1 << 20) {
    for (auto& mover : movers_) mover->Pump(budget);
  }

  // Every slot reads its expert's bytes, and all ranks have the same tables and versions.
  std::string Check() {
    for (size_t rank = 0; rank < movers_.size(); ++rank) {
      for (int layer = 0; layer < initial_.num_layers(); ++layer) {
        const LayerTables tables = movers_[rank]->tables(layer);
        const std::string wrong =
            stores_[rank]->CheckLayer(tables, initial_.topology(), static_cast<int>(rank), layer);
        if (!wrong.empty()) return wrong;
        if (tables.version != movers_[0]->tables(layer).version) return "versions differ";
      }
    }
    return "";
  }

  Mover& mover(int rank) { return *movers_[rank]; }
  TestStore& store(int rank) { return *stores_[rank]; }
  FaultyCommunicator& end(int rank) { return *ends_[rank]; }
  bool InFlight() const { return movers_[0]->InFlight(); }

 private:
  Placement initial_;
  std::vector<std::unique_ptr<FaultyCommunicator>> ends_;
  std::vector<std::unique_ptr<TestStore>> stores_;
  std::vector<std::unique_ptr<Mover>> movers_;
};

Placement FourExperts(std::vector<int32_t> slots) {
  return Placement::Create(Topology::Create(2, 2).value(), 4, std::move(slots),
                           DuplicateRule::kRefuse)
      .value();
}

TEST(Mover, ASwapCopiesEachByteOnceAndFlipsEntries) {
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  ASSERT_TRUE(group.FinishRound());
  EXPECT_EQ(group.mover(0).tables(0).slot_to_expert[1], 1) << "nothing changes before the commit";
  group.Commit();
  EXPECT_FALSE(group.InFlight());
  EXPECT_EQ(group.mover(0).tables(0).slot_to_expert[1], 2);
  EXPECT_EQ(group.mover(0).tables(0).version, 1);
  EXPECT_EQ(group.Check(), "");
  const MoverStats& stats = group.mover(0).stats();
  EXPECT_EQ(stats.bundles_received, 1);
  EXPECT_EQ(stats.bytes_received, 192);
  EXPECT_EQ(stats.bytes_copied, stats.bytes_received) << "bytes copied per byte moved is 1";
  EXPECT_EQ(stats.bundles_verified, 1);
}

TEST(Mover, APumpKeepsToItsByteBudget) {
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  group.mover(1).Pump(64);
  group.mover(0).Pump(64);
  EXPECT_EQ(group.mover(0).stats().bytes_copied, 64);
  EXPECT_FALSE(group.mover(0).RoundComplete());
  group.mover(0).Pump(128);
  EXPECT_TRUE(group.mover(0).RoundComplete());
}

TEST(Mover, AFirstPlanThatMovesNearlyEverythingNeedsOneSpareBuffer) {
  const Topology topology = Topology::Create(4, 9).value();
  std::mt19937_64 random(7);
  const Placement from = Placement::Contiguous(topology, 6, 32).value();
  const Placement to = RandomPlacement(topology, 6, 32, random);
  ASSERT_GT(CountMoves(from, to), 6 * 20);
  Group group(from, {64, 1, 1}, {});
  group.Begin(1, to, 1);
  int rounds = 0;
  while (group.InFlight()) {
    ASSERT_TRUE(group.FinishRound(1 << 20)) << "round " << rounds;
    group.Commit();
    ASSERT_EQ(group.Check(), "") << "after round " << rounds;
    ++rounds;
  }
  EXPECT_TRUE(group.mover(0).placement() == to);
  EXPECT_GT(rounds, 6);
}

TEST(Mover, ACorruptedSliceIsFoundBeforeTheCommit) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kCorrupt}};
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {FaultPlan(), faults});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  EXPECT_FALSE(group.FinishRound());
  EXPECT_EQ(group.mover(0).failure().code(), StatusCode::kDataLoss);
  EXPECT_THAT(group.mover(0).failure().message(),
              HasSubstr("expert 2 of layer 0 from rank 1 hashes to"));
  group.Abandon();
  EXPECT_EQ(group.Check(), "") << "the placement in force stays";
  EXPECT_EQ(group.mover(0).tables(0).slot_to_expert[1], 1);
}

TEST(Mover, AnUnsampledBundleOfAnotherLayoutIsStillRefused) {
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1000}, {});
  BundleHeader header;
  header.layout_id = 77;
  header.layer = 0;
  header.expert = 2;
  std::memcpy(group.store(1).bundle(0, 0).data(), &header,
              sizeof(header));  // as a rank with another kernel packs it
  group.Begin(1, FourExperts({2, 1, 0, 3}), 1);
  group.FinishRound();
  EXPECT_THAT(group.mover(0).failure().message(), HasSubstr("in layout 000000000000004d"));
}

TEST(Mover, ALostSliceLeavesTheRoundIncompleteAndTheNextCycleWorks) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kLose, .cycle = 1, .every = 2}};
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {FaultPlan(), faults});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  EXPECT_FALSE(group.FinishRound());
  EXPECT_TRUE(group.mover(0).failure().ok()) << "late is not failed: the vote decides";
  group.Abandon();
  EXPECT_FALSE(group.InFlight());
  group.Begin(2, FourExperts({3, 1, 2, 0}), 1);
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  EXPECT_EQ(group.Check(), "");
}

TEST(Mover, ALateSliceNeverLandsInABufferThatALaterCycleCommitted) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kDelay, .cycle = 1}};
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {FaultPlan(), faults});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  EXPECT_FALSE(group.FinishRound());
  group.Abandon();
  group.Begin(2, FourExperts({3, 1, 2, 0}), 1);  // takes the buffer that the first cycle had
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  ASSERT_EQ(group.Check(), "");
  ASSERT_GT(group.end(0).num_held_slices(), 0u);
  group.end(1).ReleaseHeldSlices();
  group.PumpAll();
  EXPECT_EQ(group.end(0).num_held_slices(), 0u);
  EXPECT_EQ(group.mover(0).stats().slices_dropped, 3);
  EXPECT_EQ(group.Check(), "") << "the late bytes of expert 2 must not be anywhere";
}

TEST(Mover, ALateSliceIsDroppedWhileALaterCycleIsInFlight) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kDelay, .cycle = 1}};
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {FaultPlan(), faults});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  EXPECT_FALSE(group.FinishRound());
  group.Abandon();
  group.Begin(2, FourExperts({0, 3, 2, 1}), 1);
  group.end(1).ReleaseHeldSlices();
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  EXPECT_EQ(group.Check(), "");
}

TEST(Mover, ASliceThatComesTwiceCountsOnce) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kDuplicate}};
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {faults, faults});
  group.Begin(1, FourExperts({0, 2, 1, 3}), 1);
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  EXPECT_EQ(group.Check(), "");
  EXPECT_EQ(group.mover(0).stats().bundles_received, 1);
}

TEST(Mover, BuffersOfAbandonedCyclesComeBackToThePool) {
  Group group(FourExperts({0, 1, 2, 3}), {64, 1, 1}, {});
  for (uint64_t cycle = 1; cycle <= 50; ++cycle) {
    group.Begin(cycle, FourExperts({0, 2, 1, 3}), 1);
    group.mover(0).Pump(64);
    group.Abandon();
    group.PumpAll();
    ASSERT_EQ(group.mover(0).stats().buffers_quarantined, 0) << "cycle " << cycle;
  }
  group.Begin(51, FourExperts({0, 2, 1, 3}), 1);
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  EXPECT_EQ(group.Check(), "");
}

TEST(Mover, AnAbandonedCycleKeepsTheRoundsThatWereCommitted) {
  FaultPlan faults;
  faults.slices = {{.kind = SliceFault::Kind::kLose, .round = 1}};
  const Topology topology = Topology::Create(2, 4).value();
  const auto place = [&](std::vector<int32_t> slots) {
    return Placement::Create(topology, 8, std::move(slots), DuplicateRule::kRefuse).value();
  };
  Group group(place({0, 1, 2, 3, 4, 5, 6, 7}), {64, 1, 1}, {faults, faults});
  group.Begin(1, place({4, 5, 2, 3, 0, 1, 6, 7}), 1);
  ASSERT_EQ(group.mover(0).num_rounds(), 2);
  ASSERT_TRUE(group.FinishRound());
  group.Commit();
  EXPECT_FALSE(group.FinishRound());
  group.Abandon();
  EXPECT_EQ(group.Check(), "");
  EXPECT_EQ(CountMoves(place({0, 1, 2, 3, 4, 5, 6, 7}), group.mover(0).placement()), 2);
}

TEST(Mover, CreateNamesWhatDoesNotFit) {
  const Placement initial = FourExperts({0, 1, 2, 3});
  auto ends = MakeInprocGroup(2);
  TestStore store(initial, 0, 192, 1);
  const auto message = [&](const Placement& placement, const MoverOptions& options) {
    return Mover::Create(ends[0].get(), &store, placement, options).status().message();
  };
  EXPECT_THAT(message(initial, {64, 2, 1}),
              HasSubstr("1 spare buffers, fewer than the 2 staging buffers"));
  EXPECT_THAT(message(initial, {0, 1, 1}), HasSubstr("must be at least 1"));
  EXPECT_THAT(message(FourExperts({1, 0, 2, 3}), {64, 1, 1}),
              HasSubstr("the bundle for expert 1 of layer 0"));
  const Placement three = Placement::Contiguous(Topology::Create(3, 2).value(), 1, 4).value();
  EXPECT_THAT(message(three, {64, 1, 1}), HasSubstr("3 ranks and 1 layers, the group 2 ranks"));
}

// I5 over random shapes: whatever is remapped to whatever, every slot reads its expert's bytes
// after every round.
TEST(Mover, RandomRemapsOfRandomShapesAreByteExact) {
  for (int seed = 0; seed < Scaled(5000); ++seed) {
    std::mt19937_64 random(seed);
    const RandomShape shape(random);
    const Placement from =
        RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random);
    const int staging = static_cast<int>(1 + random() % 4);
    const size_t slice_bytes = 64 * (1 + random() % 4);
    Group group(from, {slice_bytes, staging, 1}, {}, 64 * (2 + random() % 6));
    for (uint64_t cycle = 1; cycle <= 2; ++cycle) {
      const Placement to =
          RandomPlacement(shape.topology, shape.num_layers, shape.num_experts, random);
      group.Begin(cycle, to, staging);
      while (group.InFlight()) {
        ASSERT_TRUE(group.FinishRound(1 + random() % 1000)) << "seed " << seed;
        group.Commit();
        ASSERT_EQ(group.Check(), "") << "seed " << seed;
      }
      ASSERT_TRUE(group.mover(0).placement() == to) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace steelyard
