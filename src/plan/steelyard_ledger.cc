#include "plan/steelyard_ledger.h"

#include <algorithm>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr int32_t kOutside = -1;

}  // namespace

void MoveLedger::Prepare(const LayerShape& shape, const Topology& topology) {
  topology_ = &topology;
  num_experts_ = shape.num_experts;
  num_ranks_ = shape.num_ranks;
  slots_per_rank_ = shape.slots_per_rank;
  words_per_expert_ = (num_ranks_ + 63) / 64;
  const size_t num_experts = num_experts_;
  in_force_.assign(num_experts * words_per_expert_, 0);
  num_received_.assign(num_ranks_, 0);
  received_.assign(shape.num_slots(), 0);
  node_in_force_.assign(topology.num_nodes() * num_experts, 0);
  node_holders_.assign(topology.num_nodes() * num_experts, 0);
  source_of_.assign(slots_per_rank_, kOutside);
  num_served_.assign(num_ranks_, 0);
  visited_.assign(num_ranks_, 0);
}

void MoveLedger::Begin(const MoveLimits& limits, const RowInForce& in_force) {
  limits_ = limits;
  blocked_ = BindingLimit::kNone;
  std::fill(in_force_.begin(), in_force_.end(), 0);
  std::fill(node_in_force_.begin(), node_in_force_.end(), 0);
  for (int rank = 0; rank < num_ranks_; ++rank) {
    if (topology_->is_dead(rank)) continue;
    for (const int32_t expert : in_force.rank(rank)) {
      if (expert < 0) continue;
      in_force_[WordOf(rank, expert)] |= uint64_t{1} << (rank & 63);
      node_in_force_[NodeEntry(rank, expert)] = 1;
    }
  }
  Assign({});
}

void MoveLedger::Assign(std::span<const int32_t> slot_to_expert) {
  std::fill(num_received_.begin(), num_received_.end(), 0);
  std::fill(node_holders_.begin(), node_holders_.end(), 0);
  moves_ = 0;
  crossings_ = 0;
  for (size_t slot = 0; slot < slot_to_expert.size(); ++slot) {
    if (slot_to_expert[slot] < 0) continue;
    Note({.rank = static_cast<int32_t>(slot) / slots_per_rank_,
          .out = -1,
          .in = slot_to_expert[slot]});
  }
}

void MoveLedger::Note(const Exchange& exchange) {
  if (exchange.out >= 0) Change(exchange.rank, exchange.out, -1);
  Change(exchange.rank, exchange.in, 1);
}

void MoveLedger::Change(int rank, int expert, int delta) {
  const size_t entry = NodeEntry(rank, expert);
  node_holders_[entry] += delta;
  // The first copy of a node crosses to it, the others are relayed inside.
  const bool first = node_holders_[entry] == (delta > 0 ? 1 : 0);
  if (first && node_in_force_[entry] == 0) crossings_ += delta;
  if (IsInForce(rank, expert)) return;
  moves_ += delta;
  if (delta > 0) {
    received_[static_cast<size_t>(rank) * slots_per_rank_ + num_received_[rank]++] = expert;
    return;
  }
  const std::span<int32_t> experts = received(rank);
  const auto place = std::find(experts.begin(), experts.end(), expert);
  STEELYARD_CHECK(place != experts.end());
  *place = experts.back();
  --num_received_[rank];
}

bool MoveLedger::Allows(std::span<const Exchange> exchanges) {
  STEELYARD_CHECK_LE(exchanges.size(), static_cast<size_t>(kMaxExchanges));
  BindingLimit exceeded = BindingLimit::kNone;
  for (const Exchange& exchange : exchanges) Note(exchange);
  for (const Exchange& exchange : exchanges) {
    if (exceeded == BindingLimit::kNone) exceeded = FirstExceeded(exchange.rank);
  }
  for (const Exchange& exchange : exchanges) {
    Change(exchange.rank, exchange.in, -1);
    if (exchange.out >= 0) Change(exchange.rank, exchange.out, 1);
  }
  if (exceeded != BindingLimit::kNone) blocked_ = exceeded;
  return exceeded == BindingLimit::kNone;
}

bool MoveLedger::IsWithin() {
  for (int rank = 0; rank < num_ranks_; ++rank) {
    const BindingLimit exceeded = FirstExceeded(rank);
    if (exceeded == BindingLimit::kNone) continue;
    blocked_ = exceeded;
    return false;
  }
  return true;
}

BindingLimit MoveLedger::FirstExceeded(int rank) {
  if (num_received_[rank] > limits_.per_receiving_rank) return BindingLimit::kReceivingRank;
  if (crossings_ > limits_.across_nodes) return BindingLimit::kNodes;
  if (num_received_[rank] > limits_.per_rank_pair && !SourcesSuffice(rank)) {
    return BindingLimit::kRankPair;
  }
  return BindingLimit::kNone;
}

// Assigns a source to each move of the rank, none to more than the limit of them (Kuhn's method).
bool MoveLedger::SourcesSuffice(int rank) {
  receiver_ = rank;
  std::fill(num_served_.begin(), num_served_.end(), 0);
  std::fill(source_of_.begin(), source_of_.end(), kOutside);
  const std::span<const int32_t> wanted = received(rank);
  for (size_t i = 0; i < wanted.size(); ++i) {
    std::fill(visited_.begin(), visited_.end(), 0);
    if (!FindSource(wanted, static_cast<int>(i))) return false;
  }
  return true;
}

bool MoveLedger::FindSource(std::span<const int32_t> wanted, int move_idx) {
  const int node = topology_->node_of_rank(receiver_);
  bool any = false;
  for (const bool own_node : {true, false}) {
    for (int source = 0; source < num_ranks_; ++source) {
      if (!IsInForce(source, wanted[move_idx])) continue;
      any = true;
      if ((topology_->node_of_rank(source) == node) != own_node || visited_[source] != 0) continue;
      visited_[source] = 1;
      if (TrySource(wanted, move_idx, source)) return true;
    }
  }
  return !any;  // from outside
}

bool MoveLedger::TrySource(std::span<const int32_t> wanted, int move_idx, int source) {
  if (num_served_[source] < limits_.per_rank_pair) {
    ++num_served_[source];
    source_of_[move_idx] = source;
    return true;
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (source_of_[i] != source) continue;
    if (FindSource(wanted, static_cast<int>(i))) {  // it goes elsewhere and leaves its place
      source_of_[move_idx] = source;
      return true;
    }
  }
  return false;
}

}  // namespace steelyard
