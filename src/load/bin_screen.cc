#include "load/bin_screen.h"

#include <algorithm>

namespace steelyard {
namespace {

constexpr double kLeastOfMedian = 0.1;
constexpr int kDummyExpertsFraction = 4;

double TokensOf(const LoadWindow& window, int bin_idx) {
  double sum = 0.0;
  for (int phase = 0; phase < window.shape().num_phases; ++phase) {
    for (int layer = 0; layer < window.shape().num_layers; ++layer) {
      for (const double count : window.experts(bin_idx, phase, layer)) sum += count;
    }
  }
  return sum;
}

/// All tokens of the layer sit on a few experts that got equally many; also where there are none.
bool LooksLikeDummy(const LoadWindow& window, int bin_idx, int layer) {
  const int num_experts = window.shape().num_experts;
  double each = 0.0;
  int num_active = 0;
  for (int expert = 0; expert < num_experts; ++expert) {
    double count = 0.0;
    for (int phase = 0; phase < window.shape().num_phases; ++phase) {
      count += window.experts(bin_idx, phase, layer)[expert];
    }
    if (count == 0.0) continue;
    if (num_active > 0 && count != each) return false;
    each = count;
    if (++num_active * kDummyExpertsFraction > num_experts) return false;
  }
  return true;
}

bool LooksLikeDummy(const LoadWindow& window, int bin_idx) {
  for (int layer = 0; layer < window.shape().num_layers; ++layer) {
    if (!LooksLikeDummy(window, bin_idx, layer)) return false;
  }
  return true;
}

}  // namespace

void BinScreen::Prepare(int num_bins, int num_windows) {
  const size_t count = static_cast<size_t>(num_bins) * num_windows;
  all_.reserve(count);
  kept_.reserve(count);
  tokens_.reserve(count);
  sorted_.reserve(count);
}

std::span<const BinRef> BinScreen::Screen(std::span<const LoadWindow> history) {
  all_.clear();
  tokens_.clear();
  kept_.clear();
  for (size_t window = 0; window < history.size(); ++window) {
    for (int bin = 0; bin < history[window].shape().num_bins; ++bin) {
      all_.push_back({static_cast<int>(window), bin});
      tokens_.push_back(TokensOf(history[window], bin));
    }
  }
  sorted_ = tokens_;
  const auto middle = sorted_.begin() + static_cast<ptrdiff_t>(sorted_.size() / 2);
  std::nth_element(sorted_.begin(), middle, sorted_.end());
  for (size_t i = 0; i < all_.size(); ++i) {
    if (tokens_[i] > 0.0 && tokens_[i] >= kLeastOfMedian * *middle &&
        !LooksLikeDummy(history[all_[i].window_idx], all_[i].bin_idx)) {
      kept_.push_back(all_[i]);
    }
  }
  return kept_.empty() ? all_ : kept_;
}

}  // namespace steelyard
