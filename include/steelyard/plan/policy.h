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
#include "steelyard/placement/placement.h"

namespace steelyard {

/// All of these change results.
struct PlanOptions {
  /// Groups of experts that group-limited routing keeps together; only `deepseek` looks at it.
  int num_groups = 1;
  /// The imbalance that moving *all* slots of a layer must buy; one move costs price / num_slots.
  double price = 0.3;
  /// A layer whose imbalance is within this of its lower bound is kept.
  double gate = 0.005;
  /// Each older bin of the history weighs this much less than the one after it; in (0, 1].
  double recency = 0.7;
  /// Only `random` looks at it.
  uint64_t seed = 0;

  /// Fails with kInvalidArgument naming the field and its range.
  Status Validate() const;
};

struct PlanInput {
  /// In force; gives topology, layers and experts.
  const Placement* current = nullptr;
  /// Oldest first; the last one has just ended; at least one, all of one shape.
  std::span<const LoadWindow> history = {};
  PlanOptions options = {};
};

/// What a policy keeps from plan to plan. Explicit, and part of a plan's digest.
struct PolicyState {
  std::vector<double> values;
};

enum class LayerVerdict : uint8_t {
  kKeptByBound,   // within the gate of the lower bound: nothing to gain
  kKeptByPrice,   // no change was worth its moves
  kKeptByPolicy,  // the policy never changes this layer
  kChanged,
};

struct LayerReport {
  LayerVerdict verdict = LayerVerdict::kKeptByPolicy;
  bool from_scratch = false;  // planned without regard to the price of moves
  double imbalance_before =
      1.0;  // the objective of docs/planning.md on the last window, bins alike
  double imbalance_after = 1.0;
  double lower_bound = 1.0;  // no placement with this many slots and an even split is below it
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
