#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "balance/ballot.h"
#include "balance/cycle.h"
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
// How long it waits for loads or a plan between two votes.
constexpr Duration kSyncTurn = std::chrono::milliseconds(20);

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
        planning_(options, host.clock, host.make_policy),
        mover_(std::move(mover)),
        first_slot_(initial.topology().first_slot_of_rank(host.comm->rank())) {}

  Status Start(const Placement& initial) {
    return Plans(options_.mode) ? planning_.Start(initial) : Status::Ok();
  }

  void BeginStep() override {
    STEELYARD_CHECK(!in_step_);
    in_step_ = true;
    bin_idx_ = NumBinsBegun(step_);  // once a step: divisions are most of what recording would cost
  }

  LayerTables tables(int layer) const override { return mover_->tables(layer); }

  void Record(int layer, Phase phase, std::span<const uint32_t> counts) override {
    recorder_.Add(bin_idx_, phase, layer, counts);
  }

  void Pump() override { mover_->Pump(options_.pump_bytes); }

  Status EndStep() override {
    STEELYARD_CHECK(in_step_);
    in_step_ = false;
    if (vote_.has_value() && step_ == vote_->use_at_step) {
      STEELYARD_RETURN_IF_ERROR(UseVote());
    }
    TakeWindows();
    if ((step_ + 1) % options_.window_steps == 0) {
      STEELYARD_RETURN_IF_ERROR(EndWindow());
    }
    if (cycle_.has_value() && !vote_.has_value()) {
      STEELYARD_RETURN_IF_ERROR(StartVote());
    }
    ++step_;
    return Status::Ok();
  }

  Status Finish() override;

  std::span<const int64_t> loads() const override { return recorder_.loads(); }
  void ClearLoads() override { recorder_.ClearLoads(); }
  Placement placement() const override { return mover_->placement(); }
  int64_t step() const override { return step_; }
  const BalancerMetrics& metrics() const override { return metrics_; }

 private:
  struct Vote {
    uint64_t id = 0;
    int64_t use_at_step = 0;
  };

  // Of the window that `step` belongs to: bins that lie wholly before it.
  int NumBinsBegun(int64_t step) const {
    return static_cast<int>(step % options_.window_steps * options_.bins_per_window /
                            options_.window_steps);
  }

  Status EndWindow();
  void TakeWindows();
  void Publish(GatheredWindow window);
  void WarnWhenIdle();

  void BeginCycle(int64_t window_idx);
  Status StartVote();
  Status UseVote();
  Result<VoteWords> WaitVote();
  Status Decide(const Verdict& verdict);
  void BeginMoving();
  void CommitRound();
  void EndCycle();
  void AbandonCycle(std::string reason, int reporting_rank);
  Status RunCycleNow();

  Status WithPlace(const Status& status, uint64_t vote_id) const {
    if (status.ok()) {
      return status;  // without a message: a vote allocates nothing
    }
    return status.WithContext(
        fmt::format("rank {}, step {}: no result of vote {}", host_.comm->rank(), step_, vote_id));
  }
  void CountStall(Duration stall) {
    metrics_.stall_total += stall;
    metrics_.stall_max = std::max(metrics_.stall_max, stall);
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
  int bin_idx_ = 0;  // of the window, that this step counts into
  uint64_t next_vote_id_ = 1;
  std::optional<Cycle> cycle_;
  std::optional<Vote> vote_;
  std::vector<RoundCost> round_costs_;      // of the migration in flight
  int64_t first_window_after_commit_ = -1;  // its number; windows that are lost have one too
  BalancerMetrics metrics_;
};

// --- windows

Status CycleBalancer::EndWindow() {
  const int64_t window_idx = step_ / options_.window_steps;
  gather_.Start(window_idx, recorder_.counts(), mover_->placement());
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

void CycleBalancer::TakeWindows() {
  while (std::optional<GatheredWindow> window = gather_.Poll()) {
    Publish(*std::move(window));
  }
  metrics_.windows_lost = gather_.num_lost();
  if (cycle_.has_value() && cycle_->stage() == Cycle::Stage::kGathering &&
      !gather_.Awaits(cycle_->window_idx())) {
    cycle_->Object(Objection::kGatherLost, gather_.failure());
  }
}

void CycleBalancer::Publish(GatheredWindow window) {
  metrics_.windows.push_back(std::move(window.stats));
  if (metrics_.first_window_after_commit < 0 && first_window_after_commit_ >= 0 &&
      window.window_idx >= first_window_after_commit_) {
    metrics_.first_window_after_commit = static_cast<int64_t>(metrics_.windows.size()) - 1;
  }
  const auto loads = std::make_shared<const LoadWindow>(std::move(window.loads));
  if (host_.on_loads) {
    host_.on_loads(*loads);
  }
  if (!Plans(options_.mode)) {
    return;
  }
  planning_.AddWindow(window.window_idx, loads);
  if (cycle_.has_value() && cycle_->window_idx() == window.window_idx) {
    cycle_->StartPlanning(planning_, mover_->placement());
  }
}

void CycleBalancer::WarnWhenIdle() {
  ++metrics_.windows_without_cycle;
  if (host_.comm->rank() == 0 &&
      metrics_.windows_without_cycle % options_.idle_windows_warning == 0) {
    Log(LogLevel::kWarning, "no cycle committed or kept for {} windows; last reason: {}",
        metrics_.windows_without_cycle,
        metrics_.last_abandon_reason.empty() ? "none" : metrics_.last_abandon_reason);
  }
}

Status CycleBalancer::Finish() {
  const Deadline deadline = Deadline::After(options_.vote_deadline, *host_.clock);
  planning_.Cancel();
  // What this rank offered is withdrawn, and the gather below shows that all ranks have come here:
  // nobody reads its experts any more.
  mover_->Abandon();
  const int64_t last_idx = step_ / options_.window_steps;
  const int whole_bins = NumBinsBegun(step_);
  gather_.Start(last_idx, recorder_.counts(), mover_->placement());
  while (gather_.Awaits(last_idx)) {
    std::optional<GatheredWindow> window = gather_.Wait(deadline);
    if (window.has_value() && window->window_idx < last_idx) {
      Publish(*std::move(window));
    } else if (window.has_value()) {
      if (host_.on_loads && whole_bins > 0) {
        host_.on_loads(FirstBins(window->loads, whole_bins));
      }
      return Status::Ok();
    } else if (deadline.Expired()) {
      gather_.GiveUp(last_idx, DeadlineExceeded("they did not come before the end of the run"));
    }
  }
  metrics_.windows_lost = gather_.num_lost();
  return gather_.failure().WithContext(
      fmt::format("rank {}: the last loads are lost", host_.comm->rank()));
}

// --- one cycle

void CycleBalancer::BeginCycle(int64_t window_idx) {
  ++metrics_.cycles_started;
  cycle_.emplace(static_cast<uint64_t>(metrics_.cycles_started), window_idx,
                 Deadline::After(options_.cycle_deadline, *host_.clock));
}

Status CycleBalancer::StartVote() {
  const uint64_t id = next_vote_id_++;
  const Ballot ballot = cycle_->FillBallot(planning_, *mover_);
  vote_.emplace(Vote{id, step_ + options_.vote_lag_steps});
  return WithPlace(host_.comm->StartVote(id, ballot.Pack(host_.comm->rank())), id);
}

Status CycleBalancer::UseVote() {
  const Result<bool> there = host_.comm->TestVote(vote_->id);
  if (!there.ok()) {
    return WithPlace(there.status(), vote_->id);
  }
  const TimePoint begin = host_.clock->Now();
  STEELYARD_ASSIGN_OR_RETURN(const VoteWords words, WaitVote());
  if (!*there) {
    CountStall(host_.clock->Now() - begin);
  }
  return Decide(Verdict::Unpack(words));
}

Result<VoteWords> CycleBalancer::WaitVote() {
  const uint64_t id = vote_->id;
  vote_.reset();
  Result<VoteWords> words =
      host_.comm->WaitVote(id, Deadline::After(options_.vote_deadline, *host_.clock));
  if (!words.ok()) {
    return WithPlace(words.status(), id);
  }
  return words;
}

// Every rank is here at the same step with the same verdict.
Status CycleBalancer::Decide(const Verdict& verdict) {
  if (!verdict.same_cycle_and_round) {
    return Internal(fmt::format("rank {}, step {}: ranks voted on different cycles or rounds",
                                host_.comm->rank(), step_));
  }
  const bool moving = cycle_->stage() == Cycle::Stage::kMoving;
  if (verdict.objection != Objection::kNone) {
    metrics_.planning_stopped |= verdict.objection == Objection::kPlanningStopped;
    AbandonCycle(fmt::format("rank {} objects: {}", verdict.objecting_rank,
                             ObjectionText(verdict.objection)),
                 verdict.objecting_rank);
  } else if (verdict.all_ready && moving) {
    CommitRound();
  } else if (verdict.all_ready && !verdict.digests_equal) {
    AbandonCycle("ranks made different plans", 0);
  } else if (verdict.all_ready) {
    BeginMoving();
  }
  return Status::Ok();
}

void CycleBalancer::BeginMoving() {
  PlanOutcome outcome = cycle_->StartMoving();
  planning_.Adopt(outcome);
  metrics_.duplicates_replaced += outcome.duplicates_replaced;
  if (outcome.migration.rounds.empty()) {
    ++metrics_.cycles_kept;
    EndCycle();
    return;
  }
  round_costs_ = CostOfRounds(outcome.migration, *host_.store);
  mover_->Begin(cycle_->id(), std::move(outcome.migration));
}

void CycleBalancer::CommitRound() {
  const RoundCost& cost = round_costs_[mover_->round()];
  for (const int layer : cost.layers) {
    recorder_.Fold(layer,
                   mover_->tables(layer).slot_to_expert.subspan(first_slot_, part_.slots_per_rank));
  }
  mover_->CommitRound();
  metrics_.moves += cost.moves;
  metrics_.bytes_moved += cost.bytes;
  if (mover_->InFlight()) {
    return;
  }
  ++metrics_.cycles_committed;
  if (first_window_after_commit_ < 0) {
    // The window that the next step belongs to has begun already unless that step is its first.
    first_window_after_commit_ = (step_ + options_.window_steps) / options_.window_steps;
  }
  EndCycle();
}

void CycleBalancer::EndCycle() {
  cycle_.reset();
  metrics_.windows_without_cycle = 0;
}

void CycleBalancer::AbandonCycle(std::string reason, int reporting_rank) {
  if (!cycle_->failure().ok()) {
    reason += fmt::format(" ({})", cycle_->failure().message());
  }
  if (host_.comm->rank() == reporting_rank) {
    Log(LogLevel::kWarning, "rank {}, step {}: cycle {} abandoned: {}", reporting_rank, step_,
        cycle_->id(), reason);
  }
  mover_->Abandon();
  planning_.Cancel();
  if (cycle_->stage() != Cycle::Stage::kMoving) {
    // Ranks may know different windows where they came to no agreement. Without those they plan
    // from the same again.
    gather_.GiveUp(cycle_->window_idx(), DeadlineExceeded("its cycle was abandoned"));
    metrics_.windows_lost = gather_.num_lost();
    planning_.ForgetWindowsUpTo(cycle_->window_idx());
  }
  ++metrics_.cycles_abandoned;
  metrics_.last_abandon_reason = std::move(reason);
  cycle_.reset();
}

// --- mode kSync: the whole cycle between two steps

// Nobody waits alone: between two votes a rank waits only a moment for what it lacks.
Status CycleBalancer::RunCycleNow() {
  const TimePoint begin = host_.clock->Now();
  while (cycle_.has_value()) {
    if (cycle_->stage() == Cycle::Stage::kGathering) {
      if (std::optional<GatheredWindow> window = gather_.Wait(Deadline::After(kSyncTurn))) {
        Publish(*std::move(window));
      }
      TakeWindows();
    }
    if (cycle_->stage() == Cycle::Stage::kPlanning) {
      planning_.Wait(kSyncTurn);
    }
    mover_->Pump(kEverything);
    STEELYARD_RETURN_IF_ERROR(StartVote());
    STEELYARD_ASSIGN_OR_RETURN(const VoteWords words, WaitVote());
    STEELYARD_RETURN_IF_ERROR(Decide(Verdict::Unpack(words)));
  }
  CountStall(host_.clock->Now() - begin);
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Balancer>> Balancer::Create(const BalancerOptions& given,
                                                   const BalancerHost& host,
                                                   const Placement& initial) {
  STEELYARD_RETURN_IF_ERROR(given.Validate());
  if (host.comm == nullptr || host.store == nullptr || host.clock == nullptr) {
    return InvalidArgument("a balancer's host needs a communicator, an expert store and a clock");
  }
  if (!initial.topology().is_plain()) {
    return InvalidArgument("a balancer needs ranks that are all alive, alike in slots and speed");
  }
  BalancerOptions options = given;
  if (options.plan.expert_bytes == 0) options.plan.expert_bytes = LargestBundle(*host.store);
  const MoverOptions moving{options.slice_bytes, Plans(options.mode) ? options.staging_buffers : 0,
                            options.verify_every};
  STEELYARD_ASSIGN_OR_RETURN(std::unique_ptr<Mover> mover,
                             Mover::Create(host.comm, host.store, initial, moving));
  const PartShape part{options.bins_per_window, initial.num_layers(),
                       initial.topology().slots_per_rank(), initial.num_experts()};
  auto balancer = std::make_unique<CycleBalancer>(options, host, initial, part, std::move(mover));
  STEELYARD_RETURN_IF_ERROR(balancer->Start(initial));
  return std::unique_ptr<Balancer>(std::move(balancer));
}

}  // namespace steelyard
