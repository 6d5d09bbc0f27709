// The same plan, bit for bit, from every build on every machine (I8): digests of fixed instances
// are stored, and whatever is built compares its own with them.
//
// Where a policy is meant to plan otherwise, STEELYARD_WRITE_DIGESTS=FILE writes the new digests.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/test_scale.h"
#include "plan/random_source.h"
#include "steelyard/plan/policy.h"

namespace steelyard {
namespace {

constexpr int kNumInstances = 200;
constexpr int kNumCycles = 3;
constexpr const char* kStoredDigests = STEELYARD_SOURCE_DIR "/tests/data/plan_digests.json";

constexpr std::string_view kPolicies[] = {"steelyard", "deepseek", "steelyard", "vllm",
                                          "steelyard", "swift",    "steelyard", "flashlb",
                                          "steelyard", "random"};

struct DigestShape {
  int num_experts;
  int num_ranks;
  int slots_per_rank;
  int num_nodes;
  int num_groups;
};

constexpr DigestShape kShapes[] = {
    {1, 1, 1, 1, 1},   {6, 2, 4, 1, 2},    {8, 4, 3, 2, 4},    {10, 5, 2, 1, 1},
    {16, 8, 3, 4, 8},  {32, 8, 5, 2, 4},   {60, 12, 6, 3, 6},  {64, 8, 9, 1, 8},
    {64, 16, 5, 4, 8}, {128, 16, 9, 2, 8}, {256, 32, 9, 4, 8}, {100, 80, 2, 1, 1},
};

struct Instance {
  int number = 0;
  std::string_view policy;
  TopologySpec ranks = {};
  int32_t rank_that_dies = -1;  // before the last cycle
  LoadShape load_shape = {};
  PlanOptions options = {};

  std::string ToString() const {
    return fmt::format("instance {}: {} on {} experts, {}", number, policy, load_shape.num_experts,
                       Topology::Create(ranks).value().ToString());
  }
};

/// Integers, and fractions that every machine has alike.
class Chooser {
 public:
  explicit Chooser(uint64_t seed) : random_(seed) {}
  template <typename T>
  T Of(std::initializer_list<T> list) {
    return list.begin()[random_.Below(static_cast<uint32_t>(list.size()))];
  }
  bool OneIn(uint32_t n) { return random_.Below(n) == 0; }
  int Upto(int most) { return static_cast<int>(random_.Below(static_cast<uint32_t>(most) + 1)); }

 private:
  RandomSource random_;
};

/// What only `steelyard` looks at.
void ChooseOwnOptions(Chooser& choose, Instance& instance) {
  PlanOptions& options = instance.options;
  // The searches for shares and costs take their time on large layers, and do the same on small
  // ones.
  const bool is_small = instance.load_shape.num_experts <= 64;
  options.split = choose.Of({SplitRule::kEven, SplitRule::kEven, SplitRule::kWeighted});
  if (!is_small) options.split = SplitRule::kEven;
  options.predictor =
      choose.Of({Predictor::kAuto, Predictor::kAuto, Predictor::kLast, Predictor::kRecency,
                 Predictor::kEma, Predictor::kPooled, Predictor::kPhases});
  if (choose.OneIn(4)) {
    options.expert_bytes = 1000;
    MoveLimits& limits = options.limits;
    const int64_t most = choose.Upto(24);
    int64_t* const limit = choose.Of({&limits.moves, &limits.bytes, &limits.per_rank_pair,
                                      &limits.per_receiving_rank, &limits.across_nodes});
    *limit = limit == &limits.bytes ? 1000 * most : most / 4;
  }
  if (is_small && options.split == SplitRule::kEven && choose.OneIn(4))
    options.rank_cost = {.a = 10, .b = 200, .c = 0, .d = 0.5};
  TopologySpec& ranks = instance.ranks;
  if (choose.OneIn(4)) {
    for (int i = 0; i < ranks.num_ranks; ++i)
      ranks.rank_speed.push_back(choose.Of({1.0, 1.5, 2.0}));
  }
  int spare = ranks.num_ranks * ranks.slots_per_rank - instance.load_shape.num_experts;
  if (spare > ranks.slots_per_rank && choose.OneIn(3)) {
    instance.rank_that_dies = choose.Upto(ranks.num_ranks - 1);
    spare -= ranks.slots_per_rank;
  }
  if (ranks.slots_per_rank > 1 && choose.OneIn(4)) {
    ranks.slots_of_rank.assign(ranks.num_ranks, ranks.slots_per_rank);
    for (int i = 1; i < ranks.num_ranks && spare > 0; i += 2, --spare) --ranks.slots_of_rank[i];
  }
}

Instance MakeInstance(int number) {
  Chooser choose(number);
  Instance instance;
  instance.number = number;
  instance.policy = kPolicies[number % std::size(kPolicies)];
  const DigestShape shape = kShapes[choose.Upto(std::size(kShapes) - 1)];
  instance.ranks = {.num_ranks = shape.num_ranks,
                    .slots_per_rank = shape.slots_per_rank,
                    .num_nodes = shape.num_nodes};
  instance.load_shape = {.num_bins = choose.Of({1, 2, 4}),
                         .num_phases = choose.Of({1, 2}),
                         .num_layers = choose.Of({1, 2, 3}),
                         .num_experts = shape.num_experts};
  instance.options.price = choose.Of({0.0, 0.1, 0.3, 2.0});
  instance.options.gate = choose.Of({0.0, 0.005, 0.05});
  instance.options.recency = choose.Of({0.5, 0.7, 1.0});
  instance.options.seed = number;
  instance.options.num_groups = choose.OneIn(2) ? 1 : shape.num_groups;
  if (instance.policy == "steelyard") ChooseOwnOptions(choose, instance);
  return instance;
}

/// Whole numbers of tokens: a few hot experts, many cool ones, some without load, and from window
/// to window as much of the old as of the new.
void DriftLoads(RandomSource& random, std::vector<uint32_t>& tokens) {
  for (uint32_t& count : tokens) {
    const uint32_t heat = random.Below(3) == 0 ? random.Below(1U << random.Below(16)) : 500;
    count = random.Below(12) == 0 ? 0 : (count + heat + random.Below(500)) / 2;
  }
}

/// Of the plans of all cycles, each from what the one before left in force.
uint64_t DigestOf(const Instance& instance, Executor& executor = Executor::Inline()) {
  TopologySpec ranks = instance.ranks;
  Topology topology = Topology::Create(ranks).value();
  Placement placement = Placement::Contiguous(topology, instance.load_shape.num_layers,
                                              instance.load_shape.num_experts)
                            .value();
  const std::unique_ptr<Policy> policy = MakePolicy(instance.policy).value();
  PolicyState state;
  std::vector<LoadWindow> history;
  RandomSource random(1000003 + instance.number);
  std::vector<uint32_t> tokens(instance.load_shape.num_counts(), 0);
  uint64_t digest = 0;
  for (int cycle = 0; cycle < kNumCycles; ++cycle) {
    DriftLoads(random, tokens);
    if (cycle + 1 == kNumCycles && instance.rank_that_dies >= 0) {
      ranks.dead_ranks = {instance.rank_that_dies};
      topology = Topology::Create(ranks).value();
    }
    history.push_back(
        LoadWindow::Create(instance.load_shape, std::vector<double>(tokens.begin(), tokens.end()))
            .value());
    Result<Plan> plan = policy->MakePlan({.current = &placement,
                                          .history = history,
                                          .options = instance.options,
                                          .target = &topology},
                                         state, {.executor = &executor});
    if (!plan.ok()) {
      // A limit that leaves an expert of a dead rank nowhere to go is all that may stand in the
      // way.
      EXPECT_EQ(plan.status().code(), StatusCode::kFailedPrecondition)
          << instance.ToString() << ": " << plan.status().ToString();
      return digest;
    }
    digest = (digest ^ plan.value().digest) * 0x100000001b3;
    placement = std::move(plan).value().placement;
  }
  return digest;
}

TEST(PlanDigests, AreThoseStored) {
  OrderedJson digests = OrderedJson::array();
  for (int number = 0; number < kNumInstances; ++number) {
    digests.push_back(fmt::format("{:016x}", DigestOf(MakeInstance(number))));
  }
  if (const char* path = std::getenv("STEELYARD_WRITE_DIGESTS"); path != nullptr) {
    const OrderedJson file = {{"format", "steelyard.plan_digests"}, {"digests", digests}};
    ASSERT_TRUE(WriteFileAtomically(path, file.dump(1) + "\n").ok());
    GTEST_SKIP() << "wrote " << path;
  }
  const Result<Json> stored = ReadJsonFile(kStoredDigests);
  ASSERT_TRUE(stored.ok()) << stored.status().ToString();
  ASSERT_EQ(stored.value()["digests"].size(), digests.size());
  for (int number = 0; number < kNumInstances; ++number) {
    EXPECT_EQ(stored.value()["digests"][number].get<std::string>(),
              digests[number].get<std::string>())
        << MakeInstance(number).ToString();
  }
}

TEST(PlanDigests, DoNotDependOnTheNumberOfThreads) {
  const std::unique_ptr<Executor> two = Executor::Threads(2);
  const std::unique_ptr<Executor> eight = Executor::Threads(8);
  for (int number = 0; number < Scaled(kNumInstances / 2); ++number) {
    const Instance instance = MakeInstance(number);
    SCOPED_TRACE(instance.ToString());
    const uint64_t alone = DigestOf(instance);
    ASSERT_EQ(DigestOf(instance, *two), alone);
    ASSERT_EQ(DigestOf(instance, *eight), alone);
  }
}

}  // namespace
}  // namespace steelyard
