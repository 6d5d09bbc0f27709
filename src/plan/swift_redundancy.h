// The first half of the `swift` policy: every expert stays at one home, and the redundant slots are
// filled anew.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/swift_board.h"

namespace steelyard {

/// Workspace of one worker.
class SwiftRedundancy {
 public:
  /// Fills `board` from the layer in force, `before` [num_slots], and the experts' tokens, `loads`
  /// [num_experts]. Afterwards no slot is free and no rank holds an expert twice, even where
  /// `before` has duplicates: the second slot of an expert is redundant wherever it is. Requires:
  /// no more slots on a rank than experts.
  void Place(std::span<const double> loads, std::span<const int32_t> before,
             const Topology& topology, SwiftBoard& board);

 private:
  void FindHomes(std::span<const int32_t> before, SwiftBoard& board);
  void ChooseExtraCopies(std::span<const double> loads, SwiftBoard& board);
  void PlaceExtraCopies(SwiftBoard& board);
  void FillSlotsLeft(std::span<const double> loads, SwiftBoard& board);

  int num_free_ = 0;
  std::vector<int32_t> free_of_;  // [num_ranks]
  std::vector<double> weight_;    // [num_experts]
  std::vector<int32_t> extra_;    // [num_experts] copies beside the home
  std::vector<int32_t> order_;    // [num_experts]
};

}  // namespace steelyard
