#include "balance/cycle.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {

void Cycle::Object(Objection objection, const Status& why) {
  if (objection_ == Objection::kNone) {
    objection_ = objection;
    failure_ = why;
  }
}

void Cycle::StartPlanning(Planning& planning, const Placement& current) {
  STEELYARD_CHECK(stage_ == Stage::kGathering);
  stage_ = Stage::kPlanning;
  planning.Submit(current);
}

Ballot Cycle::FillBallot(Planning& planning, const Mover& mover) {
  Ballot ballot;
  ballot.cycle = id_;
  if (stage_ == Stage::kMoving) {
    ballot.round = mover.round();
    ballot.ready = mover.RoundComplete();
    if (!mover.failure().ok()) {
      Object(Objection::kTransferFailed, mover.failure());
    }
  } else {
    LookForPlan(planning);
    ballot.ready = outcome_.has_value();
    ballot.digest = ballot.ready ? outcome_->digest : 0;
  }
  if (!ballot.ready && deadline_.Expired()) {
    ObjectWhenLate();
  }
  ballot.objection = objection_;
  return ballot;
}

PlanOutcome Cycle::StartMoving() {
  STEELYARD_CHECK(outcome_.has_value());
  stage_ = Stage::kMoving;
  PlanOutcome outcome = *std::move(outcome_);
  outcome_.reset();
  return outcome;
}

void Cycle::LookForPlan(Planning& planning) {
  if (stage_ != Stage::kPlanning || outcome_.has_value() || objection_ != Objection::kNone) {
    return;
  }
  std::optional<Result<PlanOutcome>> outcome = planning.Poll();
  if (!outcome.has_value()) {
    return;
  }
  if (outcome->ok()) {
    outcome_.emplace(*std::move(*outcome));
  } else {
    Object(planning.stopped() ? Objection::kPlanningStopped : Objection::kPlanFailed,
           outcome->status());
  }
}

void Cycle::ObjectWhenLate() {
  Objection late = Objection::kGatherLost;
  if (stage_ == Stage::kPlanning) {
    late = Objection::kPlanLate;
  } else if (stage_ == Stage::kMoving) {
    late = Objection::kTransferLate;
  }
  const auto allowed = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_.timeout());
  Object(late, DeadlineExceeded(fmt::format("cycle {} is older than {} ms", id_, allowed.count())));
}

}  // namespace steelyard
