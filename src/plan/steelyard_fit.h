// Fits what one layer holds in force to the slots that it is planned for.
//
// What is in force may have duplicates, or be of ranks with other slots, some of them dead since.
// What stays keeps its slot. All other changes here are due whatever they cost: no price is asked
// for them. One object per worker.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/steelyard_layer_state.h"
#include "plan/steelyard_ledger.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// A slot whose duplicate a limit keeps from being replaced.
struct KeptDuplicate {
  int32_t slot;
  int32_t expert;
};

class LayerFitter {
 public:
  /// Takes memory; `topology` outlives the fitter's use.
  void Prepare(const LayerShape& shape, const Topology& topology);

  /// Writes `fitted` [num_slots]: an expert in every live slot, none twice on a rank, every expert
  /// somewhere, kClosedSlot in slots that are not live and in those of kept duplicates. Excess
  /// copies are dropped, redundant ones first, the lightest of them; experts left without a copy
  /// go, the heaviest first, to the coolest rank with a free slot, else over its redundant copy;
  /// other free slots take the expert with the largest load per copy that their rank lacks.
  /// `ledger`, where not null, has begun with `in_force`; no limit is exceeded. Of slots that hold
  /// a duplicate at most `max_replaced` take another expert. Fails with kFailedPrecondition, naming
  /// expert or rank and the limit, where limits leave an expert without a slot, or a slot empty.
  Status Fit(std::span<const double> expert_loads, const RowInForce& in_force, MoveLedger* ledger,
             int max_replaced, std::span<int32_t> fitted);

  /// Turns a row of the search into one of a placement: kNoExpert in slots that are not live, kept
  /// duplicates in theirs.
  void Finish(std::span<int32_t> slot_to_expert) const;

  /// After Fit(): what is in force, [num_slots], in the slots that are planned for: kNoExpert where
  /// nothing stays for sure.
  std::span<const int32_t> reference() const { return reference_; }
  std::span<const KeptDuplicate> kept_duplicates() const { return kept_duplicates_; }
  int num_replaced() const { return num_replaced_; }
  /// The limit of the layer itself that keeps a duplicate, where one does.
  BindingLimit duplicate_limit() const { return duplicate_limit_; }

 private:
  bool CopyPlain(const RowInForce& in_force);
  void TakeOver(const RowInForce& in_force);
  void TakeOverRank(int rank, std::span<const int32_t> in_force);
  void DropExcess(size_t num_slots);
  Status RehomeLost();
  Status Rehome(int expert);
  int RoomFor(int expert, bool over_redundant) const;
  int FreeSlot(int rank) const;
  int RedundantSlot(int rank) const;
  Status FillFreeSlots();
  bool Fill(int rank, int slot);
  bool Holds(int rank, int expert) const;
  void Put(int slot, int expert);
  bool Allows(int rank, int out, int in) const;
  double RankTime(int rank) const;
  std::span<int32_t> row(int rank) const;
  std::string Forbids(std::string_view what) const;

  LayerShape shape_;
  const Topology* topology_ = nullptr;
  std::span<const double> loads_;
  std::span<int32_t> fitted_;
  MoveLedger* ledger_ = nullptr;
  int max_replaced_ = 0;
  int num_replaced_ = 0;
  BindingLimit duplicate_limit_ = BindingLimit::kNone;
  std::vector<int32_t> reference_;  // [num_slots]
  std::vector<int32_t> copies_;     // [num_experts] ranks that hold it
  std::vector<int32_t> held_by_;    // [num_experts] last rank seen to hold it
  std::vector<int32_t> own_;        // experts of the rank at hand
  std::vector<int32_t> order_;      // [num_experts] experts, in the order in which they are tried
  std::vector<KeptDuplicate> duplicates_;       // slots that held one in force, and which
  std::vector<KeptDuplicate> kept_duplicates_;  // those that a limit keeps
};

}  // namespace steelyard
