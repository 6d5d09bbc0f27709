// One step of the `steelyard` search: the exchange that cools the hottest rank of a layer best.
#pragma once

#include <span>

#include "plan/steelyard_layer_state.h"

namespace steelyard {

/// Weighs kinds of exchange by the hottest of the ranks that they heat, and the hottest rank
/// itself, plus the price of their moves: a *swap* with a cool rank, a copy *added* on a cool rank
/// over a redundant slot, a redundant copy *shed* for an expert of another hot rank. Looks at a few
/// ranks, and at more only while none helps; where none does, at *chains*, in which an expert of
/// the hottest rank, or one in the way of a copy of such an expert, moves over a redundant slot of
/// a cool rank. One object per worker. Nothing allocates.
class CoolingStepFinder {
 public:
  /// None where no exchange leaves all of them, price paid, below the hottest rank as it is.
  /// `price` is that of a move, in units of load. Where swaps with a rank come to no more than
  /// `enough`, price paid, looks no further. Ties go to the coolest partner, then the heaviest
  /// expert.
  Step Find(const LayerState& state, double price, double enough);

 private:
  void TrySwaps(int from, int to);
  void TrySwapsWith(int cool);
  void OfferSwap(double hotter, const HeldExpert& mine, int cool, const HeldExpert& theirs);
  void TryAdds(int from, int to);
  void TryAddsOver(const HeldExpert& theirs, int cool);
  void TrySheds(int from, int to);
  void TryChains();
  void TryMovesOut(const HeldExpert& spare, int room, double others);
  void TryMakingWay(const HeldExpert& spare, int room, int cool, double others);
  double LoadWithout(int rank, const HeldExpert& spare) const;
  double LeastAfterAdding();
  /// What the moves of any exchange on `rank` cost at least.
  double FewestMovesPrice(int rank) const { return state_->moves(rank) == 0 ? price_ : -price_; }
  bool HasEnough() const { return best_.is_some() && best_value_ <= enough_; }
  void Offer(double value, const Step& step);

  const LayerState* state_ = nullptr;
  double price_ = 0.0;
  double enough_ = 0.0;
  int hot_ = -1;
  double hot_load_ = 0.0;
  double hot_slowness_ = 1.0;
  double best_value_ = 0.0;
  double lightest_added_ = 0.0;
  Step best_;
};

}  // namespace steelyard
