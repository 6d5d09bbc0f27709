#include "balance/window_gather.h"

#include <algorithm>

namespace steelyard {
namespace {

uint64_t GatherId(int64_t window_idx) { return static_cast<uint64_t>(window_idx) + 1; }

}  // namespace

WindowGather::WindowGather(Communicator* comm, const PartShape& shape, int window_steps)
    : comm_(comm),
      shape_(shape),
      window_steps_(window_steps),
      gathered_(shape.num_counts() * comm->num_ranks()) {}

Status WindowGather::Start(int64_t window_idx, std::span<const uint32_t> counts,
                           const Placement& in_force) {
  if (pending_.size() == Communicator::kMaxGathers) {
    pending_.erase(pending_.begin());
  }
  pending_.push_back({window_idx, in_force});
  return comm_->StartGather(GatherId(window_idx), std::as_bytes(counts));
}

Result<std::optional<GatheredWindow>> WindowGather::Poll() {
  if (pending_.empty()) {
    return std::optional<GatheredWindow>();
  }
  STEELYARD_ASSIGN_OR_RETURN(const bool there,
                             comm_->TestGather(GatherId(pending_.front().window_idx)));
  if (!there) {
    return std::optional<GatheredWindow>();
  }
  return TakeOldest(Deadline::After(Duration::zero()));
}

Result<std::optional<GatheredWindow>> WindowGather::Wait(const Deadline& deadline) {
  if (pending_.empty()) {
    return std::optional<GatheredWindow>();
  }
  return TakeOldest(deadline);
}

Result<std::optional<GatheredWindow>> WindowGather::TakeOldest(const Deadline& deadline) {
  const Pending pending = std::move(pending_.front());
  pending_.erase(pending_.begin());
  STEELYARD_RETURN_IF_ERROR(
      comm_->TakeGather(GatherId(pending.window_idx),
                        std::as_writable_bytes(std::span<uint32_t>(gathered_)), deadline));
  return std::optional<GatheredWindow>(Decode(pending));
}

GatheredWindow WindowGather::Decode(const Pending& pending) const {
  const Topology& topology = pending.placement.topology();
  GatheredWindow window;
  window.window_idx = pending.window_idx;
  window.stats.first_step = pending.window_idx * window_steps_;
  window.loads = LoadWindow({shape_.num_bins, kNumPhases, shape_.num_layers, shape_.num_experts});
  double imbalance_sum = 0.0;
  std::vector<double> rank_loads(topology.num_ranks());
  window.stats.rank_loads.assign(topology.num_ranks(), 0.0);
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    std::fill(rank_loads.begin(), rank_loads.end(), 0.0);
    const std::span<const int32_t> held = pending.placement.slot_to_expert(layer);
    for (int bin = 0; bin < shape_.num_bins; ++bin) {
      for (int phase = 0; phase < kNumPhases; ++phase) {
        const std::span<double> experts = window.loads.experts(bin, phase, layer);
        for (int rank = 0; rank < topology.num_ranks(); ++rank) {
          const uint32_t* const part = gathered_.data() + shape_.num_counts() * rank;
          const uint32_t* const slots = part + shape_.slot_row(bin, phase, layer);
          const uint32_t* const folded = part + shape_.expert_row(bin, phase, layer);
          for (int slot = 0; slot < shape_.slots_per_rank; ++slot) {
            experts[held[topology.first_slot_of_rank(rank) + slot]] += slots[slot];
            rank_loads[rank] += slots[slot];
          }
          for (int expert = 0; expert < shape_.num_experts; ++expert) {
            experts[expert] += folded[expert];
            rank_loads[rank] += folded[expert];
          }
        }
      }
    }
    double total = 0.0;
    for (const double load : rank_loads) {
      total += load;
    }
    window.stats.tokens += total;
    const double hottest = *std::max_element(rank_loads.begin(), rank_loads.end());
    imbalance_sum += total > 0.0 ? hottest * topology.num_ranks() / total : 1.0;
    for (int rank = 0; rank < topology.num_ranks(); ++rank) {
      const double relative = total > 0.0 ? rank_loads[rank] * topology.num_ranks() / total : 1.0;
      window.stats.rank_loads[rank] += relative / shape_.num_layers;
    }
  }
  window.stats.imbalance = imbalance_sum / shape_.num_layers;
  return window;
}

LoadWindow FirstBins(const LoadWindow& window, int num_bins) {
  LoadShape shape = window.shape();
  shape.num_bins = num_bins;
  LoadWindow first(shape);
  for (int bin = 0; bin < num_bins; ++bin) {
    for (int phase = 0; phase < shape.num_phases; ++phase) {
      for (int layer = 0; layer < shape.num_layers; ++layer) {
        const std::span<const double> from = window.experts(bin, phase, layer);
        std::copy(from.begin(), from.end(), first.experts(bin, phase, layer).begin());
      }
    }
  }
  return first;
}

}  // namespace steelyard
