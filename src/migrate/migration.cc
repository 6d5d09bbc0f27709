#include "migrate/migration.h"

#include <algorithm>
#include <tuple>

#include "migrate/exchange_cycles.h"
#include "migrate/round_packer.h"
#include "migrate/transfer_sources.h"
#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// Rank loads of one layer under an even split, kept up to date while cycles are tried and applied.
class LayerLoads {
 public:
  LayerLoads(const Topology& topology, std::span<const int32_t> slots,
             std::vector<double> expert_loads)
      : loads_(std::move(expert_loads)),
        holders_(loads_.size()),
        rank_loads_(topology.num_ranks(), 0.0) {
    for (size_t slot = 0; slot < slots.size(); ++slot) {
      holders_[slots[slot]].push_back(topology.rank_of_slot(static_cast<int>(slot)));
    }
    for (size_t expert = 0; expert < loads_.size(); ++expert) {
      total_ += loads_[expert];
      AddCopies(static_cast<int32_t>(expert), 1.0);
    }
  }

  // How much of the layer's sum of squared rank loads the cycle takes away, as a fraction of the
  // squared total.
  double Gain(const ExchangeCycle& cycle) {
    if (total_ <= 0.0) {
      return 0.0;
    }
    const double before = sum_of_squares_;
    Apply(cycle);
    const double after = sum_of_squares_;
    Undo(cycle);
    return (before - after) / (total_ * total_);
  }

  void Apply(const ExchangeCycle& cycle) { Change(cycle, false); }

 private:
  void Undo(const ExchangeCycle& cycle) { Change(cycle, true); }

  void Change(const ExchangeCycle& cycle, bool backwards) {
    for (const SlotChange& change : cycle.changes) {
      const int32_t in = backwards ? change.leaving : change.arriving;
      const int32_t out = backwards ? change.arriving : change.leaving;
      AddCopies(in, -1.0);
      holders_[in].push_back(change.rank);
      AddCopies(in, 1.0);
      AddCopies(out, -1.0);
      holders_[out].erase(std::find(holders_[out].begin(), holders_[out].end(), change.rank));
      AddCopies(out, 1.0);
    }
  }

  // Adds (or takes away) an expert's share at each of its holders. In the middle of a cycle an
  // expert may have no holder.
  void AddCopies(int32_t expert, double sign) {
    const std::vector<int>& holders = holders_[expert];
    for (const int rank : holders) {
      double& load = rank_loads_[rank];
      sum_of_squares_ -= load * load;
      load += sign * loads_[expert] / static_cast<double>(holders.size());
      sum_of_squares_ += load * load;
    }
  }

  std::vector<double> loads_;              // [num_experts]
  std::vector<std::vector<int>> holders_;  // [num_experts]
  std::vector<double> rank_loads_;         // [num_ranks]
  double sum_of_squares_ = 0.0;            // of rank loads
  double total_ = 0.0;
};

// Cycles of a layer, the one that levels it most first, each judged after those before it.
std::vector<RankedCycle> RankCycles(const Placement& from, const Placement& to,
                                    const LoadWindow& loads, int layer) {
  std::vector<ExchangeCycle> cycles = SplitIntoCycles(
      from.topology(), from.num_experts(), from.slot_to_expert(layer), to.slot_to_expert(layer));
  std::vector<double> expert_loads(from.num_experts(), 0.0);
  loads.AddLayerTo(layer, expert_loads);
  LayerLoads state(from.topology(), from.slot_to_expert(layer), std::move(expert_loads));
  std::vector<RankedCycle> ranked;
  while (!cycles.empty()) {
    size_t best = 0;
    double best_gain = state.Gain(cycles[0]);
    for (size_t i = 1; i < cycles.size(); ++i) {
      const double gain = state.Gain(cycles[i]);
      if (gain > best_gain) {
        best = i;
        best_gain = gain;
      }
    }
    state.Apply(cycles[best]);
    ranked.push_back({layer, best_gain, std::move(cycles[best])});
    cycles.erase(cycles.begin() + static_cast<std::ptrdiff_t>(best));
  }
  return ranked;
}

// Deals `cycles`, in order, into rounds. Where limits say who may send, each waits for those that
// take from a rank what it takes away.
class LimitedPacking {
 public:
  LimitedPacking(const Placement& from, const MoveLimits& limits, int capacity,
                 std::span<const RankedCycle> cycles)
      : cycles_(cycles),
        before_(BindSources(limits) ? FindCyclesBefore(from, limits, cycles)
                                    : std::vector<std::vector<size_t>>(cycles.size())),
        was_met_(cycles.size(), false),
        round_of_(cycles.size(), 0),
        packer_(from, capacity) {
    for (size_t i = 0; i < cycles.size(); ++i) Add(i);
  }

  const std::vector<std::vector<const RankedCycle*>>& rounds() const { return packer_.rounds(); }

 private:
  // Of cycles that wait for each other one goes first.
  void Add(size_t cycle_idx) {
    if (was_met_[cycle_idx]) return;
    was_met_[cycle_idx] = true;
    size_t first_round = 0;
    for (const size_t earlier : before_[cycle_idx]) {
      Add(earlier);
      first_round = std::max(first_round, round_of_[earlier]);
    }
    round_of_[cycle_idx] = packer_.Add(cycles_[cycle_idx], first_round);
  }

  std::span<const RankedCycle> cycles_;
  const std::vector<std::vector<size_t>> before_;  // [num_cycles]
  std::vector<bool> was_met_;                      // [num_cycles]
  std::vector<size_t> round_of_;                   // [num_cycles]
  RoundPacker packer_;
};

// Tables of all layers as rounds are applied one after another.
class TableWriter {
 public:
  explicit TableWriter(const Placement& from)
      : topology_(from.topology()),
        num_slots_(from.num_slots()),
        slots_(from.slot_to_expert().begin(), from.slot_to_expert().end()) {}

  /// Sources are left open.
  Round Write(const std::vector<const RankedCycle*>& cycles) {
    Round round;
    std::vector<int> layers;
    for (const RankedCycle* cycle : cycles) {
      layers.push_back(cycle->layer);
      for (const SlotChange& change : cycle->cycle.changes) {
        round.arrivals.push_back({cycle->layer, change.rank, change.arriving, 0});
      }
    }
    std::sort(round.arrivals.begin(), round.arrivals.end(), [](const Arrival& a, const Arrival& b) {
      return std::tie(a.layer, a.rank, a.expert) < std::tie(b.layer, b.rank, b.expert);
    });
    for (const RankedCycle* cycle : cycles) {
      Apply(*cycle);
    }
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    for (const int layer : layers) {
      const std::span<const int32_t> row = Row(layer);
      round.steps.push_back({layer, std::vector<int32_t>(row.begin(), row.end()), {}});
    }
    return round;
  }

 private:
  std::span<int32_t> Row(int layer) {
    return {slots_.data() + static_cast<size_t>(layer) * num_slots_,
            static_cast<size_t>(num_slots_)};
  }

  void Apply(const RankedCycle& cycle) {
    for (const SlotChange& change : cycle.cycle.changes) {
      const std::span<int32_t> own =
          Row(cycle.layer)
              .subspan(topology_.first_slot_of_rank(change.rank), topology_.slots_per_rank());
      const auto slot = std::find(own.begin(), own.end(), change.leaving);
      STEELYARD_CHECK(slot != own.end());
      *slot = change.arriving;
    }
  }

  const Topology topology_;
  const int num_slots_;
  std::vector<int32_t> slots_;  // [num_layers, num_slots]
};

bool SameLayer(const Placement& a, const Placement& b, int layer) {
  const auto same = [](auto x, auto y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
  };
  return same(a.slot_to_expert(layer), b.slot_to_expert(layer)) &&
         same(a.shares(layer), b.shares(layer));
}

// Gives the last step of every layer `to`'s slot order and shares; a layer that only changes those
// joins the last round. A layer of which something is left out does not come so far.
void FinishLayers(const Placement& from, const Placement& to, const std::vector<bool>& is_cut_short,
                  std::vector<Round>& rounds) {
  for (int layer = 0; layer < to.num_layers(); ++layer) {
    if (is_cut_short[layer] || SameLayer(from, to, layer)) {
      continue;
    }
    LayerStep* last = nullptr;
    for (Round& round : rounds) {
      for (LayerStep& step : round.steps) {
        last = step.layer == layer ? &step : last;
      }
    }
    if (last == nullptr) {
      if (rounds.empty()) {
        rounds.emplace_back();
      }
      std::vector<LayerStep>& steps = rounds.back().steps;
      const auto place = std::find_if(steps.begin(), steps.end(),
                                      [&](const LayerStep& step) { return step.layer > layer; });
      last = &*steps.insert(place, LayerStep{layer, {}, {}});
    }
    last->slot_to_expert.assign(to.slot_to_expert(layer).begin(), to.slot_to_expert(layer).end());
    last->shares.assign(to.shares(layer).begin(), to.shares(layer).end());
  }
}

std::vector<RankedCycle> RankAllCycles(const Placement& from, const Placement& to,
                                       const LoadWindow& loads) {
  std::vector<RankedCycle> cycles;
  for (int layer = 0; layer < from.num_layers(); ++layer) {
    for (RankedCycle& cycle : RankCycles(from, to, loads, layer)) {
      cycles.push_back(std::move(cycle));
    }
  }
  std::stable_sort(cycles.begin(), cycles.end(),
                   [](const RankedCycle& a, const RankedCycle& b) { return a.gain > b.gain; });
  return cycles;
}

std::vector<Round> WriteRounds(const Placement& from,
                               const std::vector<std::vector<const RankedCycle*>>& packed) {
  std::vector<Round> rounds;
  TableWriter writer(from);
  for (const std::vector<const RankedCycle*>& cycles : packed) {
    rounds.push_back(writer.Write(cycles));
  }
  return rounds;
}

bool Brings(const RankedCycle& cycle, const Arrival& arrival) {
  return cycle.layer == arrival.layer &&
         std::any_of(cycle.cycle.changes.begin(), cycle.cycle.changes.end(),
                     [&](const SlotChange& change) {
                       return change.rank == arrival.rank && change.arriving == arrival.expert;
                     });
}

}  // namespace

Migration PlanMigration(const Placement& from, const Placement& to, const LoadWindow& loads,
                        int staging_buffers, const MoveLimits& limits) {
  STEELYARD_CHECK(from.topology() == to.topology());
  STEELYARD_CHECK_EQ(from.num_layers(), to.num_layers());
  STEELYARD_CHECK_EQ(from.num_experts(), to.num_experts());
  STEELYARD_CHECK_GE(staging_buffers, 1);
  std::vector<RankedCycle> cycles = RankAllCycles(from, to, loads);
  std::vector<bool> is_cut_short(from.num_layers(), false);
  Migration migration;
  for (bool again = true; again;) {
    migration.rounds =
        WriteRounds(from, LimitedPacking(from, limits, staging_buffers, cycles).rounds());
    const std::vector<Arrival> unsent = ChooseSources(from, limits, migration.rounds);
    for (const Arrival& arrival : unsent) {
      is_cut_short[arrival.layer] = true;
      std::erase_if(cycles, [&](const RankedCycle& cycle) { return Brings(cycle, arrival); });
    }
    again = !unsent.empty();
  }
  for (const Round& round : migration.rounds) {
    migration.num_arrivals += static_cast<int64_t>(round.arrivals.size());
  }
  FinishLayers(from, to, is_cut_short, migration.rounds);
  return migration;
}

}  // namespace steelyard
