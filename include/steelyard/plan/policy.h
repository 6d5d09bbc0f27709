// A Policy turns recorded loads into a placement: (current placement, history of windows, options,
// state) -> plan.
//
// Planning is a pure function of those: no clock, no I/O, no hidden randomness, ordered arithmetic,
// so that every rank and every machine gets the same bits (I8). Parallelism comes through the
// Executor that is passed in and changes nothing in the result.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/executor.h"
#include "steelyard/base/status.h"
#include "steelyard/load/load_window.h"
#include "steelyard/load/predictor.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

/// How the replicas of an expert share its tokens: alike, or so that the hottest rank is as cool as
/// the placement allows.
enum class SplitRule : uint8_t { kEven, kWeighted };

/// Time that a rank takes for its tokens and its active experts (slots that got any): max(a + b x
/// active, c + d x tokens). The default counts tokens. Only `steelyard` looks at it.
struct RankCost {
  double a = 0.0;
  double b = 0.0;
  double c = 0.0;
  double d = 1.0;

  /// Cost is proportional to tokens, so that the lower bound holds.
  bool is_tokens() const { return a == 0.0 && b == 0.0 && c == 0.0 && d > 0.0; }
  double operator()(double tokens, int active_experts) const {
    const double by_experts = a + b * active_experts;
    const double by_tokens = c + d * tokens;
    return by_experts > by_tokens ? by_experts : by_tokens;
  }
};

/// Upper limits on moves, never exceeded. Those of a whole plan bind all layers together; the
/// others bind each layer by itself. Only `steelyard` plans within limits; the others refuse them.
struct MoveLimits {
  static constexpr int64_t kNone = INT64_MAX;

  int64_t moves = kNone;               // of the whole plan
  int64_t bytes = kNone;               // of the whole plan; needs PlanOptions::expert_bytes
  int64_t per_rank_pair = kNone;       // of a layer, from one rank to another
  int64_t per_receiving_rank = kNone;  // of a layer, to one rank
  int64_t across_nodes = kNone;  // of a layer: experts that no rank of the receiver's node has

  bool any() const { return *this != MoveLimits(); }
  friend bool operator==(const MoveLimits&, const MoveLimits&) = default;
};

/// All of these change results.
struct PlanOptions {
  /// Groups of experts that group-limited routing keeps together; only `deepseek` and `vllm` look
  /// at it.
  int num_groups = 1;
  /// The imbalance that moving *all* slots of a layer must buy; one move costs price / num_slots,
  /// and more where promised gains did not come true.
  double price = 0.08;
  /// A layer whose imbalance is within this of its lower bound is kept.
  double gate = 0.005;
  /// Each older bin of the history weighs this much less than the one after it; in (0, 1].
  double recency = 0.7;
  /// What the coming loads are taken to be; only `steelyard` looks at it.
  Predictor predictor = Predictor::kAuto;
  SplitRule split = SplitRule::kEven;
  RankCost rank_cost = {};
  MoveLimits limits = {};
  /// Bytes of one expert, where known; 0 where not.
  int64_t expert_bytes = 0;
  /// Only `random` looks at it.
  uint64_t seed = 0;

  /// Fails with kInvalidArgument naming the field and its range.
  Status Validate() const;
};

struct PlanInput {
  /// In force; gives layers and experts.
  const Placement* current = nullptr;
  /// Oldest first; the last one has just ended; at least one, all of one shape.
  std::span<const LoadWindow> history = {};
  PlanOptions options = {};
  /// The ranks to plan for, where they are not those of `current`; null: they are. Only `steelyard`
  /// takes others, or ranks that are not plain.
  const Topology* target = nullptr;

  const Topology& topology() const { return target != nullptr ? *target : current->topology(); }
};

/// What a policy keeps from plan to plan. Explicit, and part of a plan's digest.
struct PolicyState {
  std::vector<double> values = {};
  std::vector<int32_t> slots = {};  // placements that it remembers
};

enum class LayerVerdict : uint8_t {
  kKeptByBound,   // within the gate of the lower bound: nothing to gain
  kKeptByPrice,   // no change was worth its moves
  kKeptByPolicy,  // the policy never changes this layer
  kKeptByLimit,   // a limit forbade every change that was worth its moves
  kChanged,
};

/// The limit of MoveLimits that kept a layer from a better plan.
enum class BindingLimit : uint8_t { kNone, kMoves, kBytes, kRankPair, kReceivingRank, kNodes };

struct LayerReport {
  LayerVerdict verdict = LayerVerdict::kKeptByPolicy;
  BindingLimit limit = BindingLimit::kNone;
  bool from_scratch = false;  // planned without regard to the price of moves
  /// False where the policy itself would not have its plan for this layer applied (Swift's
  /// "changed", FlashLB's priority list).
  bool wanted = true;
  Predictor predictor = Predictor::kLast;  // that the layer was planned on
  double imbalance_before =
      1.0;  // the objective of docs/planning.md on the last window, bins alike
  double imbalance_after = 1.0;
  double lower_bound = 1.0;  // no placement with this many slots is below it
  int moves = 0;

  /// One sentence: why the layer was kept or changed.
  std::string Reason() const;
};

struct Plan {
  Placement placement;
  std::vector<LayerReport> layers;
  int64_t moves = 0;
  int duplicates = 0;

  /// A hash of placement, reports' moves and the state after planning: what ranks compare before
  /// they move anything.
  uint64_t digest = 0;

  double imbalance_before() const;  // mean over layers
  double imbalance_after() const;
  double lower_bound() const;
  std::string ToString() const;
};

struct PlanContext {
  Executor* executor = &Executor::Inline();
  const CancelFlag* cancel = nullptr;  // polled; may be null
};

/// One policy with its workspace. Not for use by two threads at once; different objects are
/// independent.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::string_view name() const = 0;

  /// Takes and touches the memory that plans of this shape need, for up to `num_workers` workers.
  /// MakePlan() does it itself where it has not been done; doing it before keeps allocation out of
  /// the first plan's time.
  virtual Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                         int num_workers) = 0;

  /// Fails with kInvalidArgument when shapes disagree or options are out of range, kCancelled when
  /// context.cancel was set.
  virtual Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                                const PlanContext& context) = 0;
};

/// `name` is one of PolicyNames(); anything else is kInvalidArgument with the list.
Result<std::unique_ptr<Policy>> MakePolicy(std::string_view name);
std::vector<std::string_view> PolicyNames();

}  // namespace steelyard
