// Which bins of a history say something about what is coming: not warm-up, not dummy batches.
#pragma once

#include <span>
#include <vector>

#include "steelyard/load/load_window.h"

namespace steelyard {

struct BinRef {
  int window_idx;
  int bin_idx;
};

/// Workspace, for one thread. After Prepare() nothing allocates for histories up to that size.
class BinScreen {
 public:
  void Prepare(int num_bins, int num_windows);

  /// The bins of `history` to plan on, oldest first; valid until the next call. Left out are bins
  /// without tokens; bins with under a tenth of the tokens of the median bin, as a warm-up or a
  /// drained queue leaves them; and bins in which, in every layer that has tokens, a few experts
  /// (at most a quarter) got equally many, as a dummy batch of one repeated token leaves them.
  /// Where that would leave nothing, all bins. Requires: at least one window, all of one shape.
  std::span<const BinRef> Screen(std::span<const LoadWindow> history);

 private:
  std::vector<BinRef> all_;
  std::vector<BinRef> kept_;
  std::vector<double> tokens_;  // of all_
  std::vector<double> sorted_;
};

}  // namespace steelyard
