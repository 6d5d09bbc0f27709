#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "balance/ballot.h"
#include "balance/planning.h"
#include "balance/recorder.h"
#include "balance/round_costs.h"
#include "balance/window_gather.h"
#include "migrate/mover.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/check.h"
#include "steelyard/base/log.h"

namespace steelyard {
namespace {

// A pump without a budget, for the mode that stops the world.
constexpr size_t kEverything = SIZE_MAX / 2;

bool Plans(BalanceMode mode) { return mode == BalanceMode::kSync || mode == BalanceMode::kAsync; }

class CycleBalancer : public Balancer {
 public:
  CycleBalancer(const BalancerOptions& options, const BalancerHost& host, const Placement& initial,
                const PartShape& part, std::unique_ptr<Mover> mover)
      : options_(options),
        host_(host),
        part_(part),
        recorder_(part),
        gather_(host.comm, part, options.window_steps),
        planning_(options, host.make_policy),
        mover_(std::move(mover)),
        first_slot_(initial.topology().first_slot_of_rank(host.comm->rank())) {}

  Status Start(const Placement& initial) { return planning_.Start(initial); }

  void BeginStep() override {
    STEELYARD_CHECK(!in_step_);
    in_step_ = true;
  }

  LayerTables tables(int layer) const override { return mover_->tables(layer); }

  void Record(int layer, Phase phase, std::span<const uint32_t> counts) override {
    const int64_t step_of_window = step_ % options_.window_steps;
    const int64_t bin = step_of_window * options_.bins_per_window / options_.window_steps;
    recorder_.Add(static_cast<int>(bin), phase, layer, counts);
  }

  void Pump() override { mover_->Pump(options_.pump_bytes); }

  Status EndStep() override {
    STEELYARD_CHECK(in_step_);
    in_step_ = false;
    if (vote_.has_value() && step_ == vote_->use_at_step) {
      STEELYARD_RETURN_IF_ERROR(UseVote());
    }
    STEELYARD_RETURN_IF_ERROR(TakeWindows());
    const bool window_ends = (step_ + 1) % options_.window_steps == 0;
    if (window_ends) {
      STEELYARD_RETURN_IF_ERROR(EndWindow());
    }
    if (cycle_.has_value() && !vote_.has_value()) {
      STEELYARD_RETURN_IF_ERROR(StartVote());
    }
    ++step_;
    return Status::Ok();
  }

  Status Finish() override {
    const Deadline deadline = Deadline::After(options_.vote_deadline, *host_.clock);
    while (true) {
      STEELYARD_ASSIGN_OR_RETURN(std::optional<GatheredWindow> window, gather_.Wait(deadline));
      if (!window.has_value()) {
        break;
      }
      Publish(*std::move(window));
    }
    const int64_t whole_bins =
        step_ % options_.window_steps * options_.bins_per_window / options_.window_steps;
    if (whole_bins > 0) {
      STEELYARD_RETURN_IF_ERROR(
          gather_.Start(step_ / options_.window_steps, recorder_.counts(), mover_->placement()));
      STEELYARD_ASSIGN_OR_RETURN(std::optional<GatheredWindow> window, gather_.Wait(deadline));
      if (host_.on_loads) {
        host_.on_loads(FirstBins(window->loads, static_cast<int>(whole_bins)));
      }
    }
    planning_.Cancel();
    return Status::Ok();
  }

  std::span<const int64_t> loads() const override { return recorder_.loads(); }
  void ClearLoads() override { recorder_.ClearLoads(); }
  Placement placement() const override { return mover_->placement(); }
  int64_t step() const override { return step_; }
  const BalancerMetrics& metrics() const override { return metrics_; }

 private:
  struct Cycle {
    uint64_t id = 0;
    int64_t window_idx = 0;  // whose end began it
    Deadline deadline;
    bool submitted = false;
    std::optional<PlanOutcome> outcome;
    bool moving = false;
    Status failure;  // why this rank objects, where what failed is not the mover
    Objection objection = Objection::kNone;
  };
  struct Vote {
    uint64_t id = 0;
    int64_t use_at_step = 0;
  };

  // --- windows

  Status EndWindow() {
    const int64_t window_idx = step_ / options_.window_steps;
    STEELYARD_RETURN_IF_ERROR(gather_.Start(window_idx, recorder_.counts(), mover_->placement()));
    recorder_.Clear();
    if (!Plans(options_.mode)) {
      return Status::Ok();
    }
    WarnWhenIdle();
    if (!cycle_.has_value() && !metrics_.planning_stopped) {
      BeginCycle(window_idx);
      if (options_.mode == BalanceMode::kSync) {
        return RunCycleNow();
      }
    }
    return Status::Ok();
  }

  Status TakeWindows() {
    while (true) {
      STEELYARD_ASSIGN_OR_RETURN(std::optional<GatheredWindow> window, gather_.Poll());
      if (!window.has_value()) {
        return Status::Ok();
      }
      Publish(*std::move(window));
    }
  }

  void Publish(GatheredWindow window) {
    metrics_.windows.push_back(window.stats);
    const auto loads = std::make_shared<const LoadWindow>(std::move(window.loads));
    if (host_.on_loads) {
      host_.on_loads(*loads);
    }
    if (!Plans(options_.mode)) {
      return;
    }
    planning_.AddWindow(loads);
    if (options_.mode == BalanceMode::kAsync && cycle_.has_value() && !cycle_->submitted &&
        cycle_->window_idx == window.window_idx) {
      cycle_->submitted = true;
      const Status submitted = planning_.Submit(mover_->placement());
      if (!submitted.ok()) {
        Object(planning_.stopped() ? Objection::kPlanningStopped : Objection::kPlanFailed,
               submitted);
      }
    }
  }

  void WarnWhenIdle() {
    ++metrics_.windows_without_cycle;
    if (metrics_.windows_without_cycle % options_.idle_windows_warning == 0) {
      Log(LogLevel::kWarning, "rank {}: no cycle committed or kept for {} windows; last reason: {}",
          host_.comm->rank(), metrics_.windows_without_cycle,
          metrics_.last_abandon_reason.empty() ? "none" : metrics_.last_abandon_reason);
    }
  }

  // --- one cycle

  void BeginCycle(int64_t window_idx) {
    ++metrics_.cycles_started;
    cycle_.emplace(Cycle{static_cast<uint64_t>(metrics_.cycles_started), window_idx,
                         Deadline::After(options_.cycle_deadline, *host_.clock), false,
                         std::nullopt, false, Status::Ok(), Objection::kNone});
  }

  void Object(Objection objection, Status why) {
    if (cycle_->objection == Objection::kNone) {
      cycle_->objection = objection;
      cycle_->failure = std::move(why);
    }
  }

  // What this rank has to say about the cycle now.
  Ballot FillBallot() {
    TakePlan();
    Ballot ballot;
    ballot.cycle = cycle_->id;
    if (cycle_->moving) {
      ballot.round = mover_->round();
      ballot.ready = mover_->RoundComplete();
      if (!mover_->failure().ok()) {
        Object(Objection::kTransferFailed, mover_->failure());
      }
    } else {
      ballot.ready = cycle_->outcome.has_value();
      ballot.digest = ballot.ready ? cycle_->outcome->digest : 0;
    }
    if (!ballot.ready && cycle_->deadline.Expired()) {
      const Objection late = cycle_->moving      ? Objection::kTransferLate
                             : cycle_->submitted ? Objection::kPlanLate
                                                 : Objection::kGatherLost;
      Object(late,
             DeadlineExceeded(fmt::format(
                 "cycle {} is older than {} ms", cycle_->id,
                 std::chrono::duration_cast<std::chrono::milliseconds>(options_.cycle_deadline)
                     .count())));
    }
    ballot.objection = cycle_->objection;
    return ballot;
  }

  void TakePlan() {
    if (cycle_->moving || cycle_->outcome.has_value() || !cycle_->submitted || !planning_.done()) {
      return;
    }
    KeepOutcome(planning_.Take());
  }

  void KeepOutcome(Result<PlanOutcome> outcome) {
    if (outcome.ok()) {
      cycle_->outcome.emplace(*std::move(outcome));
    } else {
      Object(Objection::kPlanFailed, outcome.status());
    }
  }

  Status StartVote() {
    vote_.emplace(Vote{next_vote_id_++, step_ + options_.vote_lag_steps});
    return host_.comm->StartVote(vote_->id, FillBallot().Pack(host_.comm->rank()));
  }

  Status UseVote() {
    STEELYARD_ASSIGN_OR_RETURN(const bool there, host_.comm->TestVote(vote_->id));
    const TimePoint begin = host_.clock->Now();
    STEELYARD_ASSIGN_OR_RETURN(const VoteWords words, WaitVote());
    if (!there) {
      CountStall(host_.clock->Now() - begin);
    }
    return Decide(Verdict::Unpack(words));
  }

  Result<VoteWords> WaitVote() {
    const Vote vote = *vote_;
    vote_.reset();
    Result<VoteWords> words =
        host_.comm->WaitVote(vote.id, Deadline::After(options_.vote_deadline, *host_.clock));
    if (words.ok()) {
      return words;
    }
    return words.status().WithContext(
        fmt::format("rank {}, step {}: no result of vote {}", host_.comm->rank(), step_, vote.id));
  }

  void CountStall(Duration stall) {
    metrics_.stall_total += stall;
    metrics_.stall_max = std::max(metrics_.stall_max, stall);
  }

  // Every rank is here at the same step with the same verdict.
  Status Decide(const Verdict& verdict) {
    if (!verdict.same_cycle_and_round) {
      return Internal(fmt::format("rank {}, step {}: ranks voted on different cycles or rounds",
                                  host_.comm->rank(), step_));
    }
    if (verdict.objection != Objection::kNone) {
      metrics_.planning_stopped |= verdict.objection == Objection::kPlanningStopped;
      AbandonCycle(fmt::format("rank {} objects: {}", verdict.objecting_rank,
                               ObjectionText(verdict.objection)));
    } else if (verdict.all_ready && cycle_->moving) {
      CommitRound();
    } else if (verdict.all_ready && !verdict.digests_equal) {
      AbandonCycle("ranks made different plans");
    } else if (verdict.all_ready) {
      BeginMoving();
    }
    return Status::Ok();
  }

  void BeginMoving() {
    PlanOutcome outcome = *std::move(cycle_->outcome);
    planning_.Adopt(outcome);
    metrics_.duplicates_replaced += outcome.duplicates_replaced;
    if (outcome.migration.rounds.empty()) {
      ++metrics_.cycles_kept;
      EndCycle();
      return;
    }
    cycle_->moving = true;
    round_costs_ = CostOfRounds(outcome.migration, *host_.store);
    mover_->Begin(cycle_->id, std::move(outcome.migration));
  }

  void CommitRound() {
    const RoundCost& cost = round_costs_[mover_->round()];
    for (const int layer : cost.layers) {
      recorder_.Fold(
          layer, mover_->tables(layer).slot_to_expert.subspan(first_slot_, part_.slots_per_rank));
    }
    mover_->CommitRound();
    metrics_.moves += cost.moves;
    metrics_.bytes_moved += cost.bytes;
    if (mover_->InFlight()) {
      return;
    }
    ++metrics_.cycles_committed;
    if (metrics_.first_window_after_commit < 0) {
      // The window that the next step belongs to has begun already unless that step is its first.
      metrics_.first_window_after_commit = (step_ + options_.window_steps) / options_.window_steps;
    }
    EndCycle();
  }

  void EndCycle() {
    cycle_.reset();
    metrics_.windows_without_cycle = 0;
  }

  void AbandonCycle(std::string reason) {
    if (!cycle_->failure.ok()) {
      reason += fmt::format(" ({})", cycle_->failure.message());
    }
    mover_->Abandon();
    planning_.Cancel();
    ++metrics_.cycles_abandoned;
    Log(LogLevel::kWarning, "rank {}, step {}: cycle {} abandoned: {}", host_.comm->rank(), step_,
        cycle_->id, reason);
    metrics_.last_abandon_reason = std::move(reason);
    cycle_.reset();
  }

  // --- mode kSync: the whole cycle between two steps

  Status RunCycleNow() {
    const TimePoint begin = host_.clock->Now();
    const int64_t window_idx = cycle_->window_idx;
    while (static_cast<int64_t>(metrics_.windows.size()) <= window_idx) {
      Result<std::optional<GatheredWindow>> window = gather_.Wait(cycle_->deadline);
      if (!window.ok() || !window->has_value()) {
        Object(Objection::kGatherLost, window.status());
        break;
      }
      Publish(**std::move(window));
    }
    if (cycle_->objection == Objection::kNone) {
      KeepOutcome(planning_.PlanNow(mover_->placement()));
    }
    while (cycle_.has_value()) {
      mover_->Pump(kEverything);
      STEELYARD_RETURN_IF_ERROR(StartVote());
      STEELYARD_ASSIGN_OR_RETURN(const VoteWords words, WaitVote());
      STEELYARD_RETURN_IF_ERROR(Decide(Verdict::Unpack(words)));
    }
    CountStall(host_.clock->Now() - begin);
    return Status::Ok();
  }

  const BalancerOptions options_;
  const BalancerHost host_;
  const PartShape part_;
  Recorder recorder_;
  WindowGather gather_;
  Planning planning_;
  std::unique_ptr<Mover> mover_;
  const int first_slot_;

  int64_t step_ = 0;
  bool in_step_ = false;
  uint64_t next_vote_id_ = 1;
  std::optional<Cycle> cycle_;
  std::optional<Vote> vote_;
  std::vector<RoundCost> round_costs_;  // of the migration in flight
  BalancerMetrics metrics_;
};

}  // namespace

Result<std::unique_ptr<Balancer>> Balancer::Create(const BalancerOptions& options,
                                                   const BalancerHost& host,
                                                   const Placement& initial) {
  STEELYARD_RETURN_IF_ERROR(options.Validate());
  if (host.comm == nullptr || host.store == nullptr || host.clock == nullptr) {
    return InvalidArgument("a balancer's host needs a communicator, an expert store and a clock");
  }
  MoverOptions moving;
  moving.slice_bytes = options.slice_bytes;
  moving.staging_buffers = Plans(options.mode) ? options.staging_buffers : 0;
  moving.verify_every = options.verify_every;
  STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<Mover> mover,
                             Mover::Create(host.comm, host.store, initial, moving));
  const PartShape part{options.bins_per_window, initial.num_layers(),
                       initial.topology().slots_per_rank(), initial.num_experts()};
  auto balancer = std::make_unique<CycleBalancer>(options, host, initial, part, std::move(mover));
  STEELYARD_RETURN_IF_ERROR(balancer->Start(initial));
  return std::unique_ptr<Balancer>(std::move(balancer));
}

}  // namespace steelyard
