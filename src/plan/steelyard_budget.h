// Limits on the moves of a whole plan: every layer says what it could buy, and the moves that there
// are go where they buy most.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_fit.h"
#include "plan/steelyard_layer_state.h"
#include "steelyard/base/status.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

struct CurvePoint {
  double objective;  // in units of load (LayerState::kMeanLoad)
  int32_t moves;
};

/// What one layer could buy: the points along its own search, and its plan from scratch where it
/// has one.
struct LayerCurve {
  std::vector<int32_t> reference;              // [num_slots] see LayerFitter
  std::vector<int32_t> start;                  // [num_slots] with the changes that are due anyhow
  std::vector<KeptDuplicate> kept_duplicates;  // of those
  std::vector<Step> steps;                     // of the search from there
  std::vector<CurvePoint> points;              // [steps.size() + 1] after so many steps
  int num_replaced = 0;                        // duplicates in place of which `start` has others
  double price = 0.0;                          // of a move, in units of load
  bool has_scratch = false;
  CurvePoint scratch = {};

  /// Points, that from scratch last.
  size_t num_points() const { return points.size() + (has_scratch ? 1 : 0); }
  const CurvePoint& point(size_t i) const { return i < points.size() ? points[i] : scratch; }
  /// The layer buys nothing.
  void KeepOnlyStart() {
    steps.clear();
    points.resize(1);
    has_scratch = false;
  }
};

/// The limits on a whole plan, as moves.
struct MoveBudget {
  int64_t moves = MoveLimits::kNone;
  BindingLimit limit = BindingLimit::kMoves;  // the tighter one

  static MoveBudget Of(const PlanOptions& options);
};

/// Moves of all last points, those that the layers would take by themselves.
int64_t MovesOfAll(std::span<const LayerCurve> curves);

/// Where replacing all duplicates takes more moves than there are: how many each layer may replace,
/// the lowest layers first; then true. Fails with kFailedPrecondition, naming the layer, where what
/// is due besides takes more.
Result<bool> LimitReplacedDuplicates(const MoveBudget& budget, std::span<const LayerCurve> curves,
                                     std::span<int> max_replaced);

/// A point of each curve, [layers], such that their moves together are at most `max_moves`: of all
/// prices of a move the lowest at which the best points fit, and what is then left spent in order
/// of gain per move; ties go to the lower layer. Moves pay their price, but for those of a plan
/// from scratch. Requires: the first points fit.
std::vector<size_t> ChooseWithin(int64_t max_moves, std::span<const LayerCurve> curves);

/// Writes the placement, [num_slots], at a point of a curve that is not from scratch: what stays on
/// a rank stays in its slot.
void WritePoint(const LayerCurve& curve, size_t point_idx, int slots_per_rank,
                std::span<int32_t> slot_to_expert);

}  // namespace steelyard
