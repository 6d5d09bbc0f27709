#include "plan/steelyard_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <functional>
#include <numeric>
#include <utility>

#include "load/forecast.h"
#include "plan/plan_builder.h"
#include "plan/predictor_choice.h"
#include "plan/share_solver.h"
#include "plan/steelyard_budget.h"
#include "plan/steelyard_layer.h"

namespace steelyard {
namespace {

class SteelyardPolicy : public Policy {
 public:
  std::string_view name() const override { return "steelyard"; }

  Status Prepare(const Placement& current, const LoadShape& window_shape, int num_windows,
                 int num_workers) override {
    return PrepareFor(current.topology(), current, window_shape, num_windows, num_workers);
  }

  Result<Plan> MakePlan(const PlanInput& input, PolicyState& state,
                        const PlanContext& context) override {
    STEELYARD_RETURN_IF_ERROR(CheckPlanInput(input));
    const Placement& current = *input.current;
    STEELYARD_RETURN_IF_ERROR(PrepareFor(input.topology(), current, input.history.back().shape(),
                                         static_cast<int>(input.history.size()),
                                         context.executor->num_workers()));
    bins_ = screen_.Screen(input.history);
    choice_.Begin(input, state);
    STEELYARD_RETURN_IF_ERROR(JudgeEarlierPlans(input, context));
    const size_t num_slots = topology_.num_slots();
    std::vector<int32_t> slot_to_expert(current.num_layers() * num_slots);
    STEELYARD_RETURN_IF_ERROR(PlanLayers(input, context, slot_to_expert));
    if (HasBudget(input.options.limits)) {
      STEELYARD_RETURN_IF_ERROR(KeepWithinBudget(input, context, slot_to_expert));
    }
    std::vector<double> shares;
    if (input.options.split == SplitRule::kWeighted) shares.resize(slot_to_expert.size());
    FinishLayers(input, context, slot_to_expert, shares);
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    const bool may_keep_duplicates = input.options.limits.any() && current.CountDuplicates() > 0;
    STEELYARD_ASSIGN_OR_RETURN(
        Placement placement,
        Placement::Create(topology_, current.num_experts(), std::move(slot_to_expert),
                          may_keep_duplicates ? DuplicateRule::kAllow : DuplicateRule::kRefuse,
                          std::move(shares)));
    PolicyState next = choice_.Remember(current);
    STEELYARD_ASSIGN_OR_RETURN(
        Plan plan, builder_.Build(input, std::move(placement), decisions_, next, context));
    state = std::move(next);
    return plan;
  }

 private:
  struct Worker {
    Forecaster forecaster;
    LayerPlanner planner;
    ShareSolver solver;
    ScoreWorkspace score;
    std::vector<double> bins;    // [num_bins of a window, num_experts]
    std::vector<double> loads;   // [num_experts] of a forecast, all bins together
    std::vector<double> shares;  // [num_slots]
  };

  Status PrepareFor(const Topology& topology, const Placement& current,
                    const LoadShape& window_shape, int num_windows, int num_workers) {
    if (topology.slots_per_rank() > current.num_experts()) {
      return InvalidArgument(fmt::format("{} slots on a rank are more than {} experts",
                                         topology.slots_per_rank(), current.num_experts()));
    }
    const LayerShape shape = {.num_experts = current.num_experts(),
                              .num_ranks = topology.num_ranks(),
                              .slots_per_rank = topology.slots_per_rank(),
                              .num_bins = Forecaster::MaxRows(window_shape, num_windows)};
    if (!(shape == shape_) || !(topology == topology_) ||
        static_cast<int>(workers_.size()) < num_workers) {
      shape_ = shape;
      topology_ = topology;
      workers_.resize(std::max<size_t>(workers_.size(), num_workers));
      for (Worker& worker : workers_) {
        worker.planner.Prepare(shape, topology_);
        worker.solver.Prepare(shape.num_experts, topology_);
      }
    }
    for (Worker& worker : workers_) {
      worker.forecaster.Prepare(window_shape, num_windows);
      worker.score.Reserve(current.num_experts());
      worker.bins.resize(static_cast<size_t>(window_shape.num_bins) * current.num_experts());
      worker.loads.resize(current.num_experts());
      worker.shares.resize(topology.num_slots());
    }
    screen_.Prepare(window_shape.num_bins, num_windows);
    choice_.Prepare(current.num_layers());
    decisions_.assign(current.num_layers(), {});
    planned_loads_.resize(static_cast<size_t>(current.num_layers()) * current.num_experts());
    statuses_.assign(current.num_layers(), Status::Ok());
    max_replaced_.assign(current.num_layers(), INT_MAX);
    builder_.Prepare(current, window_shape, num_workers);
    return Status::Ok();
  }

  /// All layers, each by itself; those of a limit on the whole plan with what each could buy.
  Status PlanLayers(const PlanInput& input, const PlanContext& context,
                    std::span<int32_t> slot_to_expert) {
    const size_t num_slots = topology_.num_slots();
    const int num_layers = input.current->num_layers();
    if (HasBudget(input.options.limits)) curves_.resize(num_layers);
    context.executor->Run(num_layers, [&](int layer_idx, int worker_idx) {
      if (!CheckNotCancelled(context).ok()) return;
      statuses_[layer_idx] = PlanLayer(input, layer_idx, worker_idx,
                                       slot_to_expert.subspan(layer_idx * num_slots, num_slots));
    });
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    for (int layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
      STEELYARD_RETURN_IF_ERROR(
          statuses_[layer_idx].WithContext(fmt::format("layer {}", layer_idx)));
    }
    return Status::Ok();
  }

  static bool HasBudget(const MoveLimits& limits) {
    return limits.moves != MoveLimits::kNone || limits.bytes != MoveLimits::kNone;
  }

  Status KeepWithinBudget(const PlanInput& input, const PlanContext& context,
                          std::span<int32_t> slot_to_expert) {
    const MoveBudget budget = MoveBudget::Of(input.options);
    STEELYARD_ASSIGN_OR_RETURN(const bool fewer_replaced,
                               LimitReplacedDuplicates(budget, curves_, max_replaced_));
    if (fewer_replaced) {
      STEELYARD_RETURN_IF_ERROR(PlanLayers(input, context, slot_to_expert));
      SayWhereDuplicatesStay(budget.limit);
    }
    if (MovesOfAll(curves_) <= budget.moves) return Status::Ok();
    const std::vector<size_t> chosen = ChooseWithin(budget.moves, curves_);
    const size_t num_slots = topology_.num_slots();
    context.executor->Run(input.current->num_layers(), [&](int layer_idx, int worker_idx) {
      const LayerCurve& curve = curves_[layer_idx];
      if (chosen[layer_idx] + 1 == curve.num_points()) return;
      const std::span<int32_t> slots = slot_to_expert.subspan(layer_idx * num_slots, num_slots);
      WritePoint(curve, chosen[layer_idx], topology_.slots_per_rank(), slots);
      const std::span<const int32_t> current = input.current->slot_to_expert(layer_idx);
      LayerDecision& decision = decisions_[layer_idx];
      decision.limit = budget.limit;
      decision.from_scratch = false;
      decision.gain = (curve.point(0).objective - curve.point(chosen[layer_idx]).objective) /
                      LayerState::kMeanLoad;
      if (input.options.split == SplitRule::kWeighted) {
        const int best = choice_.best(layer_idx);
        Worker& worker = workers_[worker_idx];
        worker.forecaster.Read(input.history, bins_, layer_idx);
        const Span2<const double> rows =
            worker.forecaster.Forecast(choice_.candidates()[best], input.options.recency);
        StayWhereSharesDo(input, layer_idx, best, rows, worker, slots, decision);
      }
      decision.verdict = std::equal(slots.begin(), slots.end(), current.begin(), current.end())
                             ? LayerVerdict::kKeptByLimit
                             : LayerVerdict::kChanged;
    });
    return Status::Ok();
  }

  void SayWhereDuplicatesStay(BindingLimit limit) {
    for (size_t layer_idx = 0; layer_idx < decisions_.size(); ++layer_idx) {
      LayerDecision& decision = decisions_[layer_idx];
      if (curves_[layer_idx].kept_duplicates.empty() || decision.limit != BindingLimit::kNone) {
        continue;
      }
      decision.limit = limit;
      if (decision.verdict != LayerVerdict::kChanged) decision.verdict = LayerVerdict::kKeptByLimit;
    }
  }

  Status JudgeEarlierPlans(const PlanInput& input, const PlanContext& context) {
    if (!choice_.remembers()) {
      return Status::Ok();
    }
    const LoadWindow& ended = input.history.back();
    context.executor->Run(ended.shape().num_layers, [&](int layer_idx, int worker_idx) {
      if (!CheckNotCancelled(context).ok()) return;
      Worker& worker = workers_[worker_idx];
      const Span2<double> bins(worker.bins, ended.shape().num_bins, ended.shape().num_experts);
      ReadLayerBins(ended, layer_idx, bins);
      choice_.Judge(layer_idx, bins, worker.score);
    });
    STEELYARD_RETURN_IF_ERROR(CheckNotCancelled(context));
    choice_.FinishJudging();
    return Status::Ok();
  }

  // Where plans are kept, on every candidate's forecast; else on the best one's alone.
  Status PlanLayer(const PlanInput& input, int layer_idx, int worker_idx,
                   std::span<int32_t> slot_to_expert) {
    Worker& worker = workers_[worker_idx];
    worker.forecaster.Read(input.history, bins_, layer_idx);
    const int best = choice_.best(layer_idx);
    const int num_candidates =
        choice_.keeps_plans() ? static_cast<int>(choice_.candidates().size()) : 0;
    for (int k = 0; k < num_candidates; ++k) {
      if (k == best) continue;
      const std::span<int32_t> plan = choice_.plan(layer_idx, k);
      STEELYARD_ASSIGN_OR_RETURN(const LayerDecision decision,
                                 PlanOn(input, layer_idx, k, worker, plan));
      choice_.Promise(layer_idx, k, decision.gain);
      const std::span<double> shares = choice_.shares(layer_idx, k);
      if (shares.empty()) continue;
      worker.solver.Solve(worker.loads, plan, topology_, shares);
      builder_.ChooseShares(input, layer_idx, plan, worker_idx, shares);
    }
    STEELYARD_ASSIGN_OR_RETURN(decisions_[layer_idx],
                               PlanOn(input, layer_idx, best, worker, slot_to_expert));
    if (input.options.split == SplitRule::kWeighted) {
      std::copy(worker.loads.begin(), worker.loads.end(), PlannedLoads(layer_idx).begin());
    }
    return Status::Ok();
  }

  Result<LayerDecision> PlanOn(const PlanInput& input, int layer_idx, int candidate_idx,
                               Worker& worker, std::span<int32_t> slot_to_expert) {
    const PlanOptions& options = input.options;
    const std::span<const int32_t> current = input.current->slot_to_expert(layer_idx);
    const Topology& current_topology = input.current->topology();
    const bool is_best = candidate_idx == choice_.best(layer_idx);
    const Predictor predictor = choice_.candidates()[candidate_idx];
    const Span2<const double> rows = worker.forecaster.Forecast(predictor, options.recency);
    const bool other_ranks = !(topology_ == current_topology);
    const LayerTask task = {
        .bins = rows,
        .in_force = {.slot_to_expert = current,
                     .num_ranks = current_topology.num_ranks(),
                     .slots_per_rank = current_topology.slots_per_rank()},
        .from_scratch = other_ranks && (topology_.num_ranks() != current_topology.num_ranks() ||
                                        input.current->IsContiguous(layer_idx)),
        .price = options.price * choice_.price_factor(candidate_idx),
        .gate = options.gate,
        .split = options.split,
        .cost = options.rank_cost,
        .bin_weights = worker.forecaster.row_weights(),
        .limits = options.limits.any() ? &options.limits : nullptr,
        .max_replaced = max_replaced_[layer_idx],
        .curve = is_best && HasBudget(options.limits) ? &curves_[layer_idx] : nullptr};
    STEELYARD_ASSIGN_OR_RETURN(LayerDecision decision, worker.planner.Plan(task, slot_to_expert));
    decision.predictor = predictor;
    if (options.split == SplitRule::kWeighted) {
      const bool stays = StayWhereSharesDo(input, layer_idx, candidate_idx, rows, worker,
                                           slot_to_expert, decision);
      if (stays && task.curve != nullptr) task.curve->KeepOnlyStart();
    }
    return decision;
  }

  /// Where shares are weighted: sums the forecast, `rows`, into worker.loads. Of several scenarios,
  /// and of a cost other than tokens, the search is that for an even split: takes back what it did
  /// if, with the best shares on either side, that is not worth its moves, or if nothing is to
  /// gain; then true. Not where a layer cannot be left as it is, for ranks that differ from those
  /// in force or hold an expert twice.
  bool StayWhereSharesDo(const PlanInput& input, int layer_idx, int candidate_idx,
                         Span2<const double> rows, Worker& worker,
                         std::span<int32_t> slot_to_expert, LayerDecision& decision) const {
    const PlanOptions& options = input.options;
    std::fill(worker.loads.begin(), worker.loads.end(), 0.0);
    for (size_t t = 0; t < rows.num_rows(); ++t) {
      for (size_t e = 0; e < rows.num_cols(); ++e) worker.loads[e] += rows.row(t)[e];
    }
    const RankCost& cost = options.rank_cost;
    const bool is_searched = rows.num_rows() == 1 && cost.is_tokens();
    if (is_searched || !(topology_ == input.current->topology()) ||
        input.current->CountDuplicates(layer_idx) > 0) {
      return false;
    }
    const std::span<const int32_t> current = input.current->slot_to_expert(layer_idx);
    const auto level = [&](std::span<const int32_t> slots, std::span<const double> shares) {
      return CostImbalance(rows, slots, shares, topology_, cost, worker.score,
                           worker.forecaster.row_weights());
    };
    // With the shares that are best for all bins together, or with an even split.
    const auto least_level = [&](std::span<const int32_t> slots) {
      worker.solver.Solve(worker.loads, slots, topology_, worker.shares);
      return std::min(level(slots, worker.shares), level(slots, {}));
    };
    double before = least_level(current);
    if (input.current->has_shares()) {
      before = std::min(before, level(current, input.current->shares(layer_idx)));
    }
    const double bound =
        cost.is_tokens() ? LowerBound(worker.loads, topology_, SplitRule::kWeighted, worker.score)
                         : 1.0;
    decision.gain = before - least_level(slot_to_expert);
    // What stays on a rank stays in its slot.
    const auto moves = std::inner_product(current.begin(), current.end(), slot_to_expert.begin(), 0,
                                          std::plus<>(), std::not_equal_to<>());
    const bool is_level = before <= bound + options.gate;
    const double price =
        decision.from_scratch
            ? 0.0
            : LayerPlanner::PriceOfMove(options.price * choice_.price_factor(candidate_idx),
                                        topology_, shape_.num_experts);
    if (moves == 0 || (!is_level && decision.gain > price * moves)) return false;
    std::copy(current.begin(), current.end(), slot_to_expert.begin());
    decision.gain = 0.0;
    decision.from_scratch = false;
    if (is_level) decision.limit = BindingLimit::kNone;
    decision.verdict = is_level                                ? LayerVerdict::kKeptByBound
                       : decision.limit == BindingLimit::kNone ? LayerVerdict::kKeptByPrice
                                                               : LayerVerdict::kKeptByLimit;
    return true;
  }

  /// Of the forecast that a layer is planned on, all bins together.
  std::span<double> PlannedLoads(int layer_idx) {
    const size_t num_experts = shape_.num_experts;
    return std::span<double>(planned_loads_).subspan(layer_idx * num_experts, num_experts);
  }

  /// Fits shares, [num_layers, num_slots], to what the layers are planned on, where there are any,
  /// and gives the plan to the choice.
  void FinishLayers(const PlanInput& input, const PlanContext& context,
                    std::span<const int32_t> slot_to_expert, std::span<double> shares) {
    const Placement& current = *input.current;
    const size_t num_slots = topology_.num_slots();
    const int num_candidates = static_cast<int>(choice_.candidates().size());
    context.executor->Run(current.num_layers(), [&](int layer_idx, int worker_idx) {
      if (!CheckNotCancelled(context).ok()) return;
      const std::span<const int32_t> slots =
          slot_to_expert.subspan(layer_idx * num_slots, num_slots);
      ShareSolver& solver = workers_[worker_idx].solver;
      std::span<double> of_layer;
      if (!shares.empty()) {
        of_layer = shares.subspan(layer_idx * num_slots, num_slots);
        solver.Solve(PlannedLoads(layer_idx), slots, topology_, of_layer);
        builder_.ChooseShares(input, layer_idx, slots, worker_idx, of_layer);
      }
      if (!choice_.keeps_plans()) return;
      const int best = choice_.best(layer_idx);
      std::copy(slots.begin(), slots.end(), choice_.plan(layer_idx, best).begin());
      choice_.Promise(layer_idx, best, decisions_[layer_idx].gain);
      if (of_layer.empty()) return;
      std::copy(of_layer.begin(), of_layer.end(), choice_.shares(layer_idx, best).begin());
      const std::span<const int32_t> in_force = current.slot_to_expert(layer_idx);
      const std::span<double> kept = choice_.shares(layer_idx, num_candidates);
      solver.Solve(PlannedLoads(layer_idx), in_force, topology_, kept);
      builder_.ChooseShares(input, layer_idx, in_force, worker_idx, kept);
    });
  }

  LayerShape shape_;
  Topology topology_;  // planned for
  std::vector<Worker> workers_;
  std::vector<Status> statuses_;       // [num_layers]
  std::vector<int> max_replaced_;      // [num_layers] duplicates
  std::vector<double> planned_loads_;  // [num_layers, num_experts] where shares are weighted
  std::vector<LayerCurve> curves_;     // [num_layers] where the plan has a limit
  BinScreen screen_;
  std::span<const BinRef> bins_;  // of the history, to plan on
  PredictorChoice choice_;
  std::vector<LayerDecision> decisions_;  // [num_layers]
  PlanBuilder builder_;
};

}  // namespace

std::unique_ptr<Policy> MakeSteelyardPolicy() { return std::make_unique<SteelyardPolicy>(); }

}  // namespace steelyard
