#include "load/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr double kEmaDecay = 0.5;    // from a window to the one before it
constexpr double kPhaseDecay = 0.8;  // the same for kPhases
constexpr int kPooledWindows = 4;
// Of kRecency: the newest bin of a window weighs no more than this against that of the next window,
// so that windows of one bin are not all alike.
constexpr double kOlderWindow = 0.25;
// So many switches in memory are news; with more, switching is what these loads do.
constexpr int kSwitchesThatAreNews = 2;
constexpr double kUnlikeFactor = 2.0;
constexpr double kUnlikeWeight = 0.5;
// Bins that weigh less against the newest are left out.
constexpr double kLeastWeight = 0.0005;

double Tokens(std::span<const double> loads) {
  return std::accumulate(loads.begin(), loads.end(), 0.0);
}

/// Half of the sum of differences between two distributions: 0 alike, 1 with nothing in common.
double TotalVariation(std::span<const double> a, double tokens_of_a, std::span<const double> b,
                      double tokens_of_b) {
  if (!(tokens_of_a > 0.0 && tokens_of_b > 0.0)) {
    return 1.0;
  }
  const double to_a = 1.0 / tokens_of_a;
  const double to_b = 1.0 / tokens_of_b;
  double sum = 0.0;
  for (size_t e = 0; e < a.size(); ++e) sum += std::fabs(a[e] * to_a - b[e] * to_b);
  return 0.5 * sum;
}

}  // namespace

std::string_view PredictorName(Predictor predictor) {
  constexpr std::array<std::string_view, 6> kNames = {"auto", "last",   "recency",
                                                      "ema",  "pooled", "phases"};
  return kNames[static_cast<size_t>(predictor)];
}

int Forecaster::MaxRows(const LoadShape& window_shape, int num_windows) {
  const int64_t num_bins = int64_t{window_shape.num_bins} * num_windows;
  return static_cast<int>(
      std::min<int64_t>(kMaxRows, std::max<int64_t>(num_bins, window_shape.num_phases)));
}

void Forecaster::Prepare(const LoadShape& window_shape, int num_windows) {
  num_experts_ = window_shape.num_experts;
  const size_t num_kept = std::min(num_windows, kMaxWindows);
  windows_.reserve(num_kept);
  sums_.reserve(num_kept * num_experts_);
  distances_.reserve(num_kept);
  rows_.assign(static_cast<size_t>(kMaxRows) * num_experts_, 0.0);
  row_tokens_.assign(kMaxRows, 0.0);
  row_weights_.assign(kMaxRows, 0.0);
  bin_.assign(num_experts_, 0.0);
}

void Forecaster::Read(std::span<const LoadWindow> history, std::span<const BinRef> bins,
                      int layer_idx) {
  STEELYARD_CHECK(!bins.empty());
  history_ = history;
  bins_ = bins;
  layer_idx_ = layer_idx;
  SumWindows();
  WeighWindows();
}

void Forecaster::SumWindows() {
  windows_.clear();
  // The newest first, until there are enough; then turned round.
  for (int end = static_cast<int>(bins_.size()); end > 0;) {
    int begin = end - 1;
    while (begin > 0 && bins_[begin - 1].window_idx == bins_[end - 1].window_idx) --begin;
    if (windows_.size() == kMaxWindows) break;
    windows_.push_back({begin, end - begin, 0.0, 1.0});
    end = begin;
  }
  std::reverse(windows_.begin(), windows_.end());
  sums_.assign(windows_.size() * num_experts_, 0.0);
  for (size_t w = 0; w < windows_.size(); ++w) {
    const std::span<double> sum(sums_.data() + w * num_experts_, num_experts_);
    for (int i = 0; i < windows_[w].num_bins; ++i) AddBin(windows_[w].first_bin + i, 1.0, sum);
    windows_[w].tokens = Tokens(sum);
  }
}

double Forecaster::Distance(int a, int b) const {
  return TotalVariation(SumOfWindow(a), windows_[a].tokens, SumOfWindow(b), windows_[b].tokens);
}

std::span<const double> Forecaster::SumOfWindow(int window_idx) const {
  return std::span(sums_).subspan(static_cast<size_t>(window_idx) * num_experts_, num_experts_);
}

void Forecaster::WeighWindows() {
  const int last = static_cast<int>(windows_.size()) - 1;
  distances_.clear();
  for (int w = 1; w < last; ++w) distances_.push_back(Distance(w, w - 1));
  double furthest = 2.0;  // than all
  if (!distances_.empty()) {
    const auto usual =
        distances_.begin() + std::min<ptrdiff_t>(kSwitchesThatAreNews, std::ssize(distances_) - 1);
    std::nth_element(distances_.begin(), usual, distances_.end(), std::greater<>());
    furthest = kUnlikeFactor * *usual;
  }
  for (int w = 0; w < last; ++w) {
    if (Distance(w, last) > furthest) windows_[w].weight = kUnlikeWeight;
  }
}

void Forecaster::AddBin(int bin, double weight, std::span<double> row) const {
  const LoadWindow& window = history_[bins_[bin].window_idx];
  for (int phase = 0; phase < window.shape().num_phases; ++phase) {
    const std::span<const double> loads = window.experts(bins_[bin].bin_idx, phase, layer_idx_);
    for (int e = 0; e < num_experts_; ++e) row[e] += weight * loads[e];
  }
}

// Rows are added from the newest to the oldest; row 0 is the last that was.
void Forecaster::AddRow() {
  ++num_rows_;
  std::fill(Row(0).begin(), Row(0).end(), 0.0);
  row_tokens_[PlaceOf(0)] = 0.0;
  row_weights_[PlaceOf(0)] = 0.0;
}

std::span<double> Forecaster::Row(int row) {
  return std::span(rows_).subspan(PlaceOf(row) * num_experts_, num_experts_);
}

// Into a row of its own, as long as there are any; then into the one whose experts it resembles
// most. What is hot together stays together, where neighbours in time may be of two kinds of
// traffic.
void Forecaster::AddScenario(int bin, double weight) {
  std::fill(bin_.begin(), bin_.end(), 0.0);
  AddBin(bin, weight, bin_);
  const double tokens = Tokens(bin_);
  int nearest = 0;
  if (num_rows_ < kMaxRows) {
    AddRow();
  } else {
    nearest = NearestRow(tokens);
  }
  const std::span<double> row = Row(nearest);
  for (int e = 0; e < num_experts_; ++e) row[e] += bin_[e];
  row_tokens_[PlaceOf(nearest)] += tokens;
  row_weights_[PlaceOf(nearest)] += weight;
}

// To `bin_`, which has so many tokens.
int Forecaster::NearestRow(double tokens) {
  int nearest = 0;
  double least = 2.0;
  for (int row = 0; row < num_rows_; ++row) {
    const double distance = TotalVariation(bin_, tokens, Row(row), row_tokens_[PlaceOf(row)]);
    if (distance >= least) continue;
    nearest = row;
    least = distance;
  }
  return nearest;
}

Span2<const double> Forecaster::Forecast(Predictor predictor, double recency) {
  num_rows_ = 0;
  switch (predictor) {
    case Predictor::kAuto:
      STEELYARD_CHECK(false);
      break;
    case Predictor::kLast:
      Windows(1, 1.0);
      break;
    case Predictor::kRecency:
      Recency(recency);
      break;
    case Predictor::kEma:
      // In a single window no bin is out of date.
      Windows(kMaxWindows, history_.size() > 1 ? kEmaDecay : 1.0);
      break;
    case Predictor::kPooled:
      Windows(kPooledWindows, 1.0);
      break;
    case Predictor::kPhases:
      Phases();
      break;
  }
  return {Row(0).data(), static_cast<size_t>(num_rows_), static_cast<size_t>(num_experts_)};
}

void Forecaster::Recency(double recency) {
  double weight = 1.0;
  for (auto window = windows_.rbegin(); window != windows_.rend(); ++window) {
    const double newest = weight;
    for (int i = window->num_bins - 1; i >= 0; --i) {
      if (weight < kLeastWeight) return;
      AddScenario(window->first_bin + i, weight * window->weight);
      weight *= recency;
    }
    weight = std::min(weight, kOlderWindow * newest);
  }
}

// The last windows, each weighing `decay` of its successor, with its bins on the way from one
// weight to the other, and apart: what is hot together in a bin says more than the sum.
void Forecaster::Windows(int num_windows, double decay) {
  double weight = 1.0;
  for (auto window = windows_.rbegin(); window != windows_.rend(); ++window) {
    if (num_windows-- == 0 || weight < kLeastWeight) return;
    for (int i = window->num_bins - 1; i >= 0; --i) {
      const double age = static_cast<double>(window->num_bins - 1 - i) / window->num_bins;
      AddScenario(window->first_bin + i, weight * (1.0 - (1.0 - decay) * age) * window->weight);
    }
    weight *= decay;
  }
}

// A phase's profile is what its tokens looked like in all windows, the newest most; its weight is
// what it had of the last window. Phases without tokens there have no row.
void Forecaster::Phases() {
  const int num_phases = std::min(history_.back().shape().num_phases, kMaxRows);
  for (int phase = num_phases - 1; phase >= 0; --phase) {
    AddRow();
    const std::span<double> profile = Row(0);
    double weight = 1.0;
    double traffic = 0.0;
    double tokens = 0.0;
    for (auto window = windows_.rbegin(); window != windows_.rend(); ++window) {
      for (int i = window->first_bin; i < window->first_bin + window->num_bins; ++i) {
        const std::span<const double> loads =
            history_[bins_[i].window_idx].experts(bins_[i].bin_idx, phase, layer_idx_);
        for (int e = 0; e < num_experts_; ++e) {
          profile[e] += weight * loads[e];
          tokens += weight * loads[e];
        }
      }
      if (window == windows_.rbegin()) traffic = tokens;
      weight *= kPhaseDecay;
    }
    if (!(traffic > 0.0)) {
      --num_rows_;
      continue;
    }
    for (double& load : profile) load *= traffic / tokens;
    const Window& last = windows_.back();
    row_weights_[PlaceOf(0)] = last.num_bins * traffic / last.tokens;
  }
  if (num_rows_ == 0) AddRow();
}

}  // namespace steelyard
