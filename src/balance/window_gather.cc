#include "balance/window_gather.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "steelyard/base/log.h"

namespace steelyard {
namespace {

uint64_t GatherId(int64_t window_idx) { return static_cast<uint64_t>(window_idx) + 1; }

}  // namespace

WindowGather::WindowGather(Communicator* comm, const PartShape& shape, int window_steps)
    : comm_(comm),
      shape_(shape),
      window_steps_(window_steps),
      gathered_(shape.num_counts() * comm->num_ranks()) {}

void WindowGather::Start(int64_t window_idx, std::span<const uint32_t> counts,
                         const Placement& in_force) {
  if (pending_.size() == Communicator::kMaxGathers) {
    Lose(0, DeadlineExceeded("newer windows have ended since"));
  }
  pending_.push_back({window_idx, in_force});
  const Status started = comm_->StartGather(GatherId(window_idx), std::as_bytes(counts));
  if (!started.ok()) {
    Lose(pending_.size() - 1, started);
  }
}

std::optional<GatheredWindow> WindowGather::Poll() {
  while (!pending_.empty()) {
    const Result<bool> there = comm_->TestGather(GatherId(pending_.front().window_idx));
    if (there.ok()) {
      return *there ? Wait(Deadline::After(Duration::zero())) : std::nullopt;
    }
    Lose(0, there.status());
  }
  return std::nullopt;
}

std::optional<GatheredWindow> WindowGather::Wait(const Deadline& deadline) {
  while (!pending_.empty()) {
    const Status taken =
        comm_->TakeGather(GatherId(pending_.front().window_idx),
                          std::as_writable_bytes(std::span<uint32_t>(gathered_)), deadline);
    if (taken.ok()) {
      const Pending pending = std::move(pending_.front());
      pending_.erase(pending_.begin());
      return Decode(pending);
    }
    if (taken.code() == StatusCode::kDeadlineExceeded) {
      return std::nullopt;
    }
    Lose(0, taken);
  }
  return std::nullopt;
}

void WindowGather::GiveUp(int64_t window_idx, const Status& why) {
  while (Awaits(window_idx)) {
    Lose(0, why);
  }
}

void WindowGather::Lose(size_t place, const Status& why) {
  Log(LogLevel::kWarning, "rank {}: the loads of window {} are lost: {}", comm_->rank(),
      pending_[place].window_idx, why.message());
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(place));
  ++num_lost_;
  failure_ = why;
}

GatheredWindow WindowGather::Decode(const Pending& pending) const {
  GatheredWindow window;
  window.window_idx = pending.window_idx;
  window.stats.first_step = pending.window_idx * window_steps_;
  window.stats.rank_loads.assign(comm_->num_ranks(), 0.0);
  window.loads = LoadWindow({shape_.num_bins, kNumPhases, shape_.num_layers, shape_.num_experts});
  double imbalance_sum = 0.0;
  for (int layer = 0; layer < shape_.num_layers; ++layer) {
    imbalance_sum += DecodeLayer(pending, layer, window);
  }
  window.stats.imbalance = imbalance_sum / shape_.num_layers;
  return window;
}

// Returns the layer's imbalance.
double WindowGather::DecodeLayer(const Pending& pending, int layer, GatheredWindow& window) const {
  const Topology& topology = pending.placement.topology();
  const std::span<const int32_t> held = pending.placement.slot_to_expert(layer);
  std::vector<double> rank_loads(topology.num_ranks(), 0.0);
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
  const double total = std::accumulate(rank_loads.begin(), rank_loads.end(), 0.0);
  const double mean = total / topology.num_ranks();
  window.stats.tokens += total;
  std::sort(rank_loads.begin(), rank_loads.end(), std::greater<>());
  for (int place = 0; place < topology.num_ranks(); ++place) {
    rank_loads[place] = total > 0.0 ? rank_loads[place] / mean : 1.0;
    window.stats.rank_loads[place] += rank_loads[place] / shape_.num_layers;
  }
  return rank_loads[0];
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
