#include "plan/predictor_choice.h"

#include <algorithm>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr double kFade = 0.8;      // of scores and gains, from one plan to the next
constexpr double kTogether = 0.8;  // the part of a layer's score that is that of all layers
// A gain that is taken to have come true before there is any to judge.
constexpr double kPriorGain = 0.02;
constexpr double kLeastRealised = 0.3;

// What PolicyState::values begins with, before the layers' values.
enum Header { kLayers, kSlots, kCandidates, kPromised, kRealised, kHeaderSize };
// What a layer's values begin with, before the scores of its candidates.
enum LayerHeader { kUsed, kLayerPromised, kLayerSize };

}  // namespace

void PredictorChoice::Prepare(int num_layers) {
  candidates_.reserve(kPredictors.size());
  layers_.reserve(num_layers);
  scores_.reserve(num_layers * kPredictors.size());
  all_scores_.reserve(kPredictors.size());
}

void PredictorChoice::Begin(const PlanInput& input, const PolicyState& state) {
  const LoadShape& shape = input.history.back().shape();
  candidates_.assign(1, input.options.predictor);
  if (input.options.predictor == Predictor::kAuto) {
    candidates_.assign(
        {Predictor::kRecency, Predictor::kLast, Predictor::kEma, Predictor::kPooled});
    if (shape.num_phases > 1) candidates_.push_back(Predictor::kPhases);
  }
  num_layers_ = shape.num_layers;
  num_slots_ = input.topology().num_slots();
  keeps_plans_ = input.history.size() > 1 && input.topology() == input.current->topology();
  layers_.assign(num_layers_, {});
  promised_ = 0.0;
  realised_ = 0.0;
  price_factor_ = 1.0;
  const size_t num_candidates = candidates_.size();
  scores_.assign(num_layers_ * num_candidates, 0.0);
  all_scores_.assign(num_candidates, 0.0);
  remembers_ = keeps_plans_ && Recall(state, input.topology());
  if (!remembers_ && keeps_plans_) plans_.assign(PlanOffset(num_layers_, 0), kNoExpert);
}

bool PredictorChoice::Recall(const PolicyState& state, const Topology& topology) {
  const size_t per_layer = kLayerSize + candidates_.size();
  const std::vector<double>& values = state.values;
  if (values.size() != kHeaderSize + num_layers_ * per_layer || values[kLayers] != num_layers_ ||
      values[kSlots] != static_cast<double>(num_slots_) ||
      values[kCandidates] != static_cast<double>(candidates_.size()) ||
      state.slots.size() != PlanOffset(num_layers_, 0)) {
    return false;
  }
  for (size_t slot = 0; slot < num_slots_; ++slot) {
    if ((state.slots[slot] == kNoExpert) == topology.is_live_slot(static_cast<int>(slot))) {
      return false;  // other ranks were dead
    }
  }
  promised_ = values[kPromised];
  realised_ = values[kRealised];
  const double* layer = values.data() + kHeaderSize;
  for (int i = 0; i < num_layers_; ++i, layer += per_layer) {
    layers_[i].used = static_cast<int>(layer[kUsed]);
    layers_[i].promised = layer[kLayerPromised];
    std::copy(layer + kLayerSize, layer + per_layer, &score(i, 0));
  }
  plans_ = state.slots;
  return true;
}

void PredictorChoice::Judge(int layer_idx, Span2<const double> bins, const Topology& topology,
                            ScoreWorkspace& workspace) {
  const int num_candidates = static_cast<int>(candidates_.size());
  const auto imbalance = [&](int plan_idx) {
    return Imbalance(bins, {plans_.data() + PlanOffset(layer_idx, plan_idx), num_slots_}, {},
                     topology, {}, workspace);
  };
  const double kept = imbalance(num_candidates);
  for (int k = 0; k < num_candidates; ++k) {
    const double planned = imbalance(k);
    if (k == layers_[layer_idx].used) layers_[layer_idx].realised = kept - planned;
    score(layer_idx, k) = kFade * score(layer_idx, k) + planned;
  }
}

void PredictorChoice::FinishJudging() {
  const double part = 1.0 / num_layers_;
  promised_ *= kFade;
  realised_ *= kFade;
  for (int layer_idx = 0; layer_idx < num_layers_; ++layer_idx) {
    promised_ += part * layers_[layer_idx].promised;
    realised_ += part * layers_[layer_idx].realised;
    for (size_t k = 0; k < candidates_.size(); ++k) {
      all_scores_[k] += part * score(layer_idx, static_cast<int>(k));
    }
  }
  const double realised_part = (realised_ + kPriorGain) / (std::max(promised_, 0.0) + kPriorGain);
  price_factor_ = 1.0 / std::clamp(realised_part, kLeastRealised, 1.0);
}

int PredictorChoice::best(int layer_idx) const {
  int best = 0;
  double least = 0.0;
  for (size_t k = 0; k < candidates_.size(); ++k) {
    const double own = scores_[layer_idx * candidates_.size() + k];
    const double together = kTogether * all_scores_[k] + (1.0 - kTogether) * own;
    if (k == 0 || together < least) {
      best = static_cast<int>(k);
      least = together;
    }
  }
  return best;
}

std::span<int32_t> PredictorChoice::plan(int layer_idx, int candidate_idx) {
  STEELYARD_CHECK(keeps_plans_);
  return {plans_.data() + PlanOffset(layer_idx, candidate_idx), num_slots_};
}

PolicyState PredictorChoice::Remember(const Placement& current) const {
  PolicyState state;
  if (!keeps_plans_) {
    return state;
  }
  const size_t num_candidates = candidates_.size();
  state.values.resize(kHeaderSize);
  state.values[kLayers] = num_layers_;
  state.values[kSlots] = static_cast<double>(num_slots_);
  state.values[kCandidates] = static_cast<double>(num_candidates);
  state.values[kPromised] = promised_;
  state.values[kRealised] = realised_;
  state.slots = plans_;
  for (int layer_idx = 0; layer_idx < num_layers_; ++layer_idx) {
    state.values.push_back(layers_[layer_idx].used);
    state.values.push_back(layers_[layer_idx].promised);
    const auto scores = scores_.begin() + static_cast<ptrdiff_t>(layer_idx * num_candidates);
    state.values.insert(state.values.end(), scores,
                        scores + static_cast<ptrdiff_t>(num_candidates));
    const std::span<const int32_t> in_force = current.slot_to_expert(layer_idx);
    std::copy(in_force.begin(), in_force.end(),
              state.slots.begin() +
                  static_cast<ptrdiff_t>(PlanOffset(layer_idx, static_cast<int>(num_candidates))));
  }
  return state;
}

}  // namespace steelyard
