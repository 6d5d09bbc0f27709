// One pass record .. commit as one rank sees it: what it has, what it still lacks, and what it
// objects to.
//
// It decides nothing: it fills in ballots, and the balancer carries out what the verdicts say.
#pragma once

#include <cstdint>
#include <optional>

#include "balance/ballot.h"
#include "balance/planning.h"
#include "migrate/mover.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/status.h"

namespace steelyard {

class Cycle {
 public:
  enum class Stage { kGathering, kPlanning, kMoving };

  /// `window_idx` is the window whose end began it.
  Cycle(uint64_t id, int64_t window_idx, const Deadline& deadline)
      : id_(id), window_idx_(window_idx), deadline_(deadline) {}

  uint64_t id() const { return id_; }
  int64_t window_idx() const { return window_idx_; }
  Stage stage() const { return stage_; }

  /// This rank wants the cycle abandoned. Its first reason stays.
  void Object(Objection objection, const Status& why);
  /// Why, or ok.
  const Status& failure() const { return failure_; }

  /// The loads of the window are there: a plan is asked for. Requires: stage kGathering.
  void StartPlanning(Planning& planning, const Placement& current);

  /// What this rank has to say about the cycle now.
  Ballot FillBallot(Planning& planning, const Mover& mover);

  /// All ranks agreed on the plan: it is handed out, and its experts may move. Requires: this
  /// rank's ballot was ready in stage kPlanning.
  PlanOutcome StartMoving();

 private:
  void LookForPlan(Planning& planning);
  void ObjectWhenLate();

  uint64_t id_;
  int64_t window_idx_;
  Deadline deadline_;
  Stage stage_ = Stage::kGathering;
  std::optional<PlanOutcome> outcome_;
  Objection objection_ = Objection::kNone;
  Status failure_;
};

}  // namespace steelyard
