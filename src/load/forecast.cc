#include "load/forecast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr double kEmaDecay = 0.5;    // from a window to the one before it
constexpr double kPhaseDecay = 0.8;  // the same for kPhases
constexpr int kPooledWindows = 4;
static_assert(Forecaster::kMaxWindows <= Forecaster::kMaxRows, "every window has a row");
// Of kRecency: the newest bin of a window weighs no more than this against that of the next window,
// so that windows of one bin are not all alike.
constexpr double kOlderWindow = 0.25;
// So many switches in memory are news; with more, switching is what these loads do.
constexpr int kSwitchesThatAreNews = 2;
constexpr double kUnlikeFactor = 2.0;

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
  relevant_.reserve(num_kept);
  rows_.assign(static_cast<size_t>(kMaxRows) * num_experts_, 0.0);
}

void Forecaster::Read(std::span<const LoadWindow> history, std::span<const BinRef> bins,
                      int layer_idx) {
  STEELYARD_CHECK(!bins.empty());
  history_ = history;
  bins_ = bins;
  layer_idx_ = layer_idx;
  SumWindows();
  FindRelevant();
}

void Forecaster::SumWindows() {
  windows_.clear();
  // The newest first, until there are enough; then turned round.
  for (int end = static_cast<int>(bins_.size()); end > 0;) {
    int begin = end - 1;
    while (begin > 0 && bins_[begin - 1].window_idx == bins_[end - 1].window_idx) --begin;
    if (windows_.size() == kMaxWindows) break;
    windows_.push_back({begin, end - begin, 0.0});
    end = begin;
  }
  std::reverse(windows_.begin(), windows_.end());
  sums_.assign(windows_.size() * num_experts_, 0.0);
  for (size_t w = 0; w < windows_.size(); ++w) {
    const std::span<double> sum(sums_.data() + w * num_experts_, num_experts_);
    for (int i = 0; i < windows_[w].num_bins; ++i) AddBin(windows_[w].first_bin + i, 1.0, sum);
    for (const double tokens : sum) windows_[w].tokens += tokens;
  }
}

// Half of the sum of differences between two windows' distributions: 0 alike, 1 with nothing in
// common.
double Forecaster::Distance(int a, int b) const {
  if (!(windows_[a].tokens > 0.0 && windows_[b].tokens > 0.0)) {
    return 1.0;
  }
  const double* x = sums_.data() + static_cast<size_t>(a) * num_experts_;
  const double* y = sums_.data() + static_cast<size_t>(b) * num_experts_;
  const double to_x = 1.0 / windows_[a].tokens;
  const double to_y = 1.0 / windows_[b].tokens;
  double sum = 0.0;
  for (int e = 0; e < num_experts_; ++e) sum += std::fabs(x[e] * to_x - y[e] * to_y);
  return 0.5 * sum;
}

void Forecaster::FindRelevant() {
  relevant_.clear();
  const int last = static_cast<int>(windows_.size()) - 1;
  distances_.clear();
  for (int w = 1; w < last; ++w) distances_.push_back(Distance(w, w - 1));
  double furthest = 1.0;
  if (!distances_.empty()) {
    const auto usual =
        distances_.begin() + std::min<ptrdiff_t>(kSwitchesThatAreNews, std::ssize(distances_) - 1);
    std::nth_element(distances_.begin(), usual, distances_.end(), std::greater<>());
    furthest = kUnlikeFactor * *usual;
  }
  for (int w = 0; w < last; ++w) {
    if (Distance(w, last) <= furthest) relevant_.push_back(w);
  }
  relevant_.push_back(last);
}

void Forecaster::AddBin(int bin, double weight, std::span<double> row) const {
  const LoadWindow& window = history_[bins_[bin].window_idx];
  for (int phase = 0; phase < window.shape().num_phases; ++phase) {
    const std::span<const double> loads = window.experts(bins_[bin].bin_idx, phase, layer_idx_);
    for (int e = 0; e < num_experts_; ++e) row[e] += weight * loads[e];
  }
}

std::span<double> Forecaster::Row(int row) {
  return {rows_.data() + static_cast<size_t>(row) * num_experts_,
          static_cast<size_t>(num_experts_)};
}

std::span<double> Forecaster::StartRows(int num_rows) {
  num_rows_ = std::min(num_rows, kMaxRows);
  const std::span<double> rows(rows_.data(), static_cast<size_t>(num_rows_) * num_experts_);
  std::fill(rows.begin(), rows.end(), 0.0);
  return rows;
}

Span2<const double> Forecaster::Forecast(Predictor predictor, double recency) {
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
  return {rows_.data(), static_cast<size_t>(num_rows_), static_cast<size_t>(num_experts_)};
}

void Forecaster::Recency(double recency) {
  int num_bins = 0;
  for (const int32_t w : relevant_) num_bins += windows_[w].num_bins;
  StartRows(num_bins);
  double weight = 1.0;
  int row = num_rows_;
  for (auto w = relevant_.rbegin(); w != relevant_.rend(); ++w) {
    const double newest = weight;
    for (int i = windows_[*w].num_bins - 1; i >= 0; --i) {
      row = std::max(row - 1, 0);
      AddBin(windows_[*w].first_bin + i, weight, Row(row));
      weight *= recency;
    }
    weight = std::min(weight, kOlderWindow * newest);
  }
}

// The last of the windows that resemble the last one, each weighing `decay` of its successor, with
// its bins on the way from one weight to the other, and apart: what is hot together in a bin says
// more than the sum. Neighbouring bins of a window share a row where there are more bins than rows.
void Forecaster::Windows(int num_windows, double decay) {
  const int count = std::min(num_windows, static_cast<int>(relevant_.size()));
  const std::span<const int32_t> windows = std::span(relevant_).last(count);
  const int rows_of_window = std::max(1, kMaxRows / count);
  int num_rows = 0;
  for (const int32_t w : windows) num_rows += std::min(rows_of_window, windows_[w].num_bins);
  StartRows(num_rows);
  double weight = 1.0;
  int end = num_rows_;
  for (int i = count - 1; i >= 0; --i) {
    const Window& window = windows_[windows[i]];
    const int rows = std::min(rows_of_window, window.num_bins);
    end -= rows;
    for (int bin = 0; bin < window.num_bins; ++bin) {
      const auto row = static_cast<int>(int64_t{bin} * rows / window.num_bins);
      const double age = static_cast<double>(window.num_bins - 1 - bin) / window.num_bins;
      AddBin(window.first_bin + bin, weight * (1.0 - (1.0 - decay) * age), Row(end + row));
    }
    weight *= decay;
  }
}

// A phase's profile is what its tokens looked like in all windows, the newest most; its weight is
// what it had of the last window. Phases without tokens there have no row.
void Forecaster::Phases() {
  const int num_phases = history_.back().shape().num_phases;
  StartRows(num_phases);
  int row = 0;
  for (int phase = 0; phase < std::min(num_phases, kMaxRows); ++phase) {
    const std::span<double> profile = Row(row);
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
      std::fill(profile.begin(), profile.end(), 0.0);
      continue;
    }
    for (double& load : profile) load *= traffic / tokens;
    ++row;
  }
  num_rows_ = std::max(row, 1);
}

}  // namespace steelyard
