#include "plan/predictor_choice.h"

#include <algorithm>
#include <cmath>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr double kFade = 0.9;      // of scores and gains, from one plan to the next
constexpr double kTogether = 0.8;  // the part of a layer's verdict that is that of all layers
// A difference between predictors is believed as far as it is more than so many standard errors;
// one of a single layer, standard deviations.
constexpr double kDoubt = 1.0;
constexpr double kLayerDoubt = 2.0;
// Of imbalance in a window, below which the first candidate stays.
constexpr double kLeastLead = 0.003;
// A gain that is taken to have come true before there is any to judge.
constexpr double kPriorGain = 0.02;
constexpr double kLeastRealised = 0.4;

// PolicyState::values: a header, promised and realised gain and squared leads of each candidate,
// promised gain and score of each plan, the shares where they are weighted.
enum Header { kLayers, kSlots, kCandidates, kJudged, kHeaderSize };

/// `value` by `doubt` nearer to 0.
double Believed(double value, double doubt) {
  return std::copysign(std::max(0.0, std::fabs(value) - doubt), value);
}

}  // namespace

void PredictorChoice::Prepare(int num_layers) {
  candidates_.reserve(kPredictors.size());
  totals_.reserve(kPredictors.size());
  records_.reserve(num_layers * kPredictors.size());
}

void PredictorChoice::Begin(const PlanInput& input, const PolicyState& state) {
  const LoadShape& shape = input.history.back().shape();
  candidates_.assign(1, input.options.predictor);
  if (input.options.predictor == Predictor::kAuto) {
    candidates_.assign(
        {Predictor::kEma, Predictor::kPooled, Predictor::kRecency, Predictor::kLast});
    if (shape.num_phases > 1) candidates_.push_back(Predictor::kPhases);
  }
  num_layers_ = shape.num_layers;
  topology_ = &input.topology();
  cost_ = input.options.rank_cost;
  num_slots_ = topology_->num_slots();
  keeps_plans_ = input.history.size() > 1 && *topology_ == input.current->topology();
  is_weighted_ = keeps_plans_ && input.options.split == SplitRule::kWeighted;
  totals_.assign(candidates_.size(), {});
  records_.assign(num_layers_ * candidates_.size(), {});
  shares_.clear();
  judged_ = 0.0;
  remembers_ = keeps_plans_ && Recall(state);
  if (remembers_ || !keeps_plans_) return;
  plans_.assign(PlanOffset(num_layers_, 0), kNoExpert);
  if (is_weighted_) shares_.assign(plans_.size(), 0.0);
}

bool PredictorChoice::Recall(const PolicyState& state) {
  const std::vector<double>& values = state.values;
  const size_t num_shares = is_weighted_ ? PlanOffset(num_layers_, 0) : 0;
  const size_t num_values = kHeaderSize + 3 * totals_.size() + 2 * records_.size() + num_shares;
  if (values.size() != num_values || values[kLayers] != num_layers_ ||
      values[kSlots] != static_cast<double>(num_slots_) ||
      values[kCandidates] != static_cast<double>(candidates_.size()) ||
      state.slots.size() != PlanOffset(num_layers_, 0)) {
    return false;
  }
  for (size_t slot = 0; slot < num_slots_; ++slot) {
    if ((state.slots[slot] == kNoExpert) == topology_->is_live_slot(static_cast<int>(slot))) {
      return false;  // other ranks were dead
    }
  }
  judged_ = values[kJudged];
  const double* value = values.data() + kHeaderSize;
  for (Total& total : totals_) {
    total.promised = *value++;
    total.realised = *value++;
    total.squared_leads = *value++;
  }
  for (PlanRecord& record : records_) {
    record.promised = *value++;
    record.score = *value++;
  }
  shares_.assign(value, value + num_shares);
  plans_ = state.slots;
  return true;
}

void PredictorChoice::Judge(int layer_idx, Span2<const double> bins, ScoreWorkspace& workspace) {
  const int num_candidates = static_cast<int>(candidates_.size());
  const auto imbalance = [&](int plan_idx) {
    return CostImbalance(bins, {plans_.data() + PlanOffset(layer_idx, plan_idx), num_slots_},
                         shares(layer_idx, plan_idx), *topology_, cost_, workspace);
  };
  const double kept = imbalance(num_candidates);
  for (int k = 0; k < num_candidates; ++k) {
    const double planned = imbalance(k);
    PlanRecord& record = plan_of(layer_idx, k);
    record.realised = kept - planned;
    record.score = kFade * record.score + planned;
  }
}

void PredictorChoice::FinishJudging() {
  judged_ = kFade * judged_ + 1.0;
  const double part = 1.0 / num_layers_;
  for (size_t k = 0; k < totals_.size(); ++k) {
    const int candidate_idx = static_cast<int>(k);
    Total& total = totals_[k];
    total.promised *= kFade;
    total.realised *= kFade;
    double lead = 0.0;
    double squares = 0.0;
    double last_lead = 0.0;  // in the window that has just ended
    for (int layer_idx = 0; layer_idx < num_layers_; ++layer_idx) {
      const PlanRecord& record = plan_of(layer_idx, candidate_idx);
      total.promised += part * record.promised;
      total.realised += part * record.realised;
      const double of_layer = Lead(layer_idx, candidate_idx);
      lead += part * of_layer;
      squares += part * of_layer * of_layer;
      last_lead += part * (record.realised - plan_of(layer_idx, 0).realised);
    }
    total.squared_leads = kFade * kFade * total.squared_leads + last_lead * last_lead;
    // Layers differ among each other; a switch of what comes in is the luck of all at once.
    const double variance = std::max(0.0, squares - lead * lead);
    total.spread = std::sqrt(variance + total.squared_leads);
    const double error =
        std::sqrt(variance / std::max(1.0, num_layers_ - 1.0) + total.squared_leads);
    total.lead = Believed(lead, kDoubt * error);
    const double realised_part =
        (total.realised + kPriorGain) / (std::max(total.promised, 0.0) + kPriorGain);
    total.price_factor = 1.0 / std::clamp(realised_part, kLeastRealised, 1.0);
  }
}

double PredictorChoice::Lead(int layer_idx, int candidate_idx) const {
  const PlanRecord* records = records_.data() + layer_idx * candidates_.size();
  return records[0].score - records[candidate_idx].score;
}

int PredictorChoice::best(int layer_idx) const {
  int best = 0;
  double most = kLeastLead * judged_;
  for (int k = 1; k < static_cast<int>(candidates_.size()); ++k) {
    const Total& total = totals_[k];
    const double own = Believed(Lead(layer_idx, k), kLayerDoubt * total.spread);
    const double together = kTogether * total.lead + (1.0 - kTogether) * own;
    if (together > most) {
      best = k;
      most = together;
    }
  }
  return best;
}

std::span<int32_t> PredictorChoice::plan(int layer_idx, int candidate_idx) {
  STEELYARD_CHECK(keeps_plans_);
  return {plans_.data() + PlanOffset(layer_idx, candidate_idx), num_slots_};
}

std::span<double> PredictorChoice::shares(int layer_idx, int plan_idx) {
  if (!is_weighted_) {
    return {};
  }
  return {shares_.data() + PlanOffset(layer_idx, plan_idx), num_slots_};
}

PolicyState PredictorChoice::Remember(const Placement& current) const {
  PolicyState state;
  if (!keeps_plans_) {
    return state;
  }
  const size_t num_candidates = candidates_.size();
  state.values.reserve(kHeaderSize + 3 * totals_.size() + 2 * records_.size() + shares_.size());
  state.values.resize(kHeaderSize);
  state.values[kLayers] = num_layers_;
  state.values[kSlots] = static_cast<double>(num_slots_);
  state.values[kCandidates] = static_cast<double>(num_candidates);
  state.values[kJudged] = judged_;
  for (const Total& total : totals_) {
    state.values.insert(state.values.end(), {total.promised, total.realised, total.squared_leads});
  }
  for (const PlanRecord& record : records_) {
    state.values.insert(state.values.end(), {record.promised, record.score});
  }
  state.values.insert(state.values.end(), shares_.begin(), shares_.end());
  state.slots = plans_;
  for (int layer_idx = 0; layer_idx < num_layers_; ++layer_idx) {
    const std::span<const int32_t> in_force = current.slot_to_expert(layer_idx);
    std::copy(in_force.begin(), in_force.end(),
              state.slots.begin() +
                  static_cast<ptrdiff_t>(PlanOffset(layer_idx, static_cast<int>(num_candidates))));
  }
  return state;
}

}  // namespace steelyard
