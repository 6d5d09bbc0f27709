#include "plan/steelyard_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "plan/plan_builder.h"
#include "steelyard/placement/placement.h"

namespace steelyard {
namespace {

/// From the point that a layer is at to one that buys more.
struct Purchase {
  double gain = 0.0;
  int32_t moves = 0;
  size_t point = 0;

  bool is_some() const { return gain > 0.0; }
  /// More gain per move; without moves the gain is free.
  bool IsBetterThan(const Purchase& other) const { return gain * other.moves > other.gain * moves; }
};

/// The best that a layer at `at` can do with `budget` moves more; of equals the larger.
Purchase BestPurchase(const LayerCurve& curve, size_t at, int64_t budget) {
  const CurvePoint& from = curve.point(at);
  Purchase best;
  for (size_t i = 0; i < curve.num_points(); ++i) {
    const CurvePoint& to = curve.point(i);
    const Purchase purchase = {
        .gain = from.objective - to.objective, .moves = to.moves - from.moves, .point = i};
    const double least_gain = i < curve.points.size() ? curve.price * purchase.moves : 0.0;
    if (purchase.gain <= std::max(0.0, least_gain) || purchase.moves > budget) continue;
    if (purchase.moves <= 0) return purchase;  // taken at once; the next look goes on from there
    if (!best.is_some() || purchase.IsBetterThan(best) ||
        (!best.IsBetterThan(purchase) && purchase.moves > best.moves)) {
      best = purchase;
    }
  }
  return best;
}

}  // namespace

MoveBudget MoveBudget::Of(const PlanOptions& options) {
  const MoveLimits& limits = options.limits;
  MoveBudget budget = {.moves = limits.moves, .limit = BindingLimit::kMoves};
  if (limits.bytes != MoveLimits::kNone && limits.bytes / options.expert_bytes < budget.moves) {
    budget = {.moves = limits.bytes / options.expert_bytes, .limit = BindingLimit::kBytes};
  }
  return budget;
}

int64_t MovesOfAll(std::span<const LayerCurve> curves) {
  int64_t moves = 0;
  for (const LayerCurve& curve : curves) moves += curve.point(curve.num_points() - 1).moves;
  return moves;
}

Result<bool> LimitReplacedDuplicates(const MoveBudget& budget, std::span<const LayerCurve> curves,
                                     std::span<int> max_replaced) {
  int64_t left = budget.moves;
  for (size_t layer_idx = 0; layer_idx < curves.size(); ++layer_idx) {
    left -= curves[layer_idx].points[0].moves - curves[layer_idx].num_replaced;
    if (left < 0) {
      return FailedPrecondition(
          fmt::format("layer {}: experts without a live slot and slots without an expert take the "
                      "plan to {} moves, but {} allows {}",
                      layer_idx, budget.moves - left, LimitText(budget.limit), budget.moves));
    }
  }
  bool fewer = false;
  for (size_t layer_idx = 0; layer_idx < curves.size(); ++layer_idx) {
    const int replaced = curves[layer_idx].num_replaced;
    max_replaced[layer_idx] = static_cast<int>(std::min<int64_t>(replaced, left));
    fewer = fewer || max_replaced[layer_idx] < replaced;
    left -= max_replaced[layer_idx];
  }
  return fewer;
}

// A layer's best purchases, one after another, are the corners of the lower hull of its curve, each
// worth less per move than the one before: buying in order of worth passes through the best points
// of every price, from the highest down to the lowest that fits.
std::vector<size_t> ChooseWithin(int64_t max_moves, std::span<const LayerCurve> curves) {
  std::vector<size_t> chosen(curves.size(), 0);
  int64_t left = max_moves;
  for (const LayerCurve& curve : curves) left -= curve.points[0].moves;
  std::vector<Purchase> next(curves.size());
  for (size_t l = 0; l < curves.size(); ++l) next[l] = BestPurchase(curves[l], 0, left);
  while (true) {
    size_t best = curves.size();
    for (size_t l = 0; l < curves.size(); ++l) {
      // What was in reach may no longer be.
      if (next[l].moves > left) next[l] = BestPurchase(curves[l], chosen[l], left);
      if (!next[l].is_some()) continue;
      if (best == curves.size() || next[l].IsBetterThan(next[best])) best = l;
    }
    if (best == curves.size()) return chosen;
    left -= next[best].moves;
    chosen[best] = next[best].point;
    next[best] = BestPurchase(curves[best], chosen[best], left);
  }
}

void WritePoint(const LayerCurve& curve, size_t point_idx, int slots_per_rank,
                std::span<int32_t> slot_to_expert) {
  std::copy(curve.start.begin(), curve.start.end(), slot_to_expert.begin());
  const auto slot_of = [&](int rank, int32_t expert) {
    const auto begin = slot_to_expert.begin() + static_cast<ptrdiff_t>(rank) * slots_per_rank;
    return std::find(begin, begin + slots_per_rank, expert);
  };
  for (size_t i = 0; i < point_idx; ++i) {
    const Step& step = curve.steps[i];
    *slot_of(step.rank_a, step.expert_a) = step.expert_b;
    if (!step.is_replacement()) *slot_of(step.rank_b, step.given_by_b()) = step.expert_a;
  }
  for (size_t slot = 0; slot < slot_to_expert.size(); ++slot) {
    const int32_t stays = curve.reference[slot];
    if (stays < 0 || slot_to_expert[slot] == stays) continue;
    const int rank = static_cast<int>(slot) / slots_per_rank;
    const auto place = slot_of(rank, stays);
    const auto end = slot_to_expert.begin() + (static_cast<ptrdiff_t>(rank) + 1) * slots_per_rank;
    if (place != end) std::swap(*place, slot_to_expert[slot]);
  }
  for (int32_t& expert : slot_to_expert) {
    if (expert == kClosedSlot) expert = kNoExpert;
  }
  for (const KeptDuplicate& kept : curve.kept_duplicates) slot_to_expert[kept.slot] = kept.expert;
}

}  // namespace steelyard
