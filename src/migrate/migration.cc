#include "migrate/migration.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "migrate/exchange_cycles.h"
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

struct RankedCycle {
  int layer = 0;
  double gain = 0.0;
  ExchangeCycle cycle;
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

// Deals cycles into rounds, first fit, so that no rank has more than `capacity` arrivals in one.
class RoundPacker {
 public:
  RoundPacker(const Placement& from, int capacity) : from_(from), capacity_(capacity) {}

  void Add(RankedCycle cycle) {
    size_t round = FirstAllowedRound(cycle);
    while (round < arrivals_.size() && !Fits(cycle.cycle, arrivals_[round])) {
      ++round;
    }
    while (arrivals_.size() <= round) {
      arrivals_.emplace_back(from_.topology().num_ranks(), 0);
      rounds_.emplace_back();
    }
    for (const SlotChange& change : cycle.cycle.changes) {
      ++arrivals_[round][change.rank];
      const auto key = DeliveryKey(cycle.layer, change);
      deliveries_.try_emplace(key, round);
    }
    rounds_[round].push_back(std::move(cycle));
  }

  std::vector<std::vector<RankedCycle>> Take() { return std::move(rounds_); }

 private:
  using Key = std::tuple<int, int32_t, int>;  // layer, expert, node

  Key DeliveryKey(int layer, const SlotChange& change) const {
    return {layer, change.arriving, from_.topology().node_of_rank(change.rank)};
  }

  // An expert that several ranks of a node need crosses the node's link once: the others wait for
  // that round and take it there.
  size_t FirstAllowedRound(const RankedCycle& cycle) const {
    size_t round = 0;
    if (from_.topology().num_nodes() == 1) {
      return round;
    }
    for (const SlotChange& change : cycle.cycle.changes) {
      const auto found = deliveries_.find(DeliveryKey(cycle.layer, change));
      if (found != deliveries_.end() && !HeldOnNode(cycle.layer, change)) {
        round = std::max(round, found->second + 1);
      }
    }
    return round;
  }

  bool HeldOnNode(int layer, const SlotChange& change) const {
    const Topology& topology = from_.topology();
    const int node = topology.node_of_rank(change.rank);
    const std::span<const int32_t> slots = from_.slot_to_expert(layer);
    const int first = topology.first_slot_of_rank(node * topology.ranks_per_node());
    const int count = topology.ranks_per_node() * topology.slots_per_rank();
    const auto end = slots.begin() + first + count;
    return std::find(slots.begin() + first, end, change.arriving) != end;
  }

  bool Fits(const ExchangeCycle& cycle, const std::vector<int>& arrivals) const {
    return std::all_of(cycle.changes.begin(), cycle.changes.end(),
                       [&](const SlotChange& change) { return arrivals[change.rank] < capacity_; });
  }

  const Placement& from_;
  int capacity_;
  std::vector<std::vector<RankedCycle>> rounds_;
  std::vector<std::vector<int>> arrivals_;  // [num_rounds][num_ranks]
  std::map<Key, size_t> deliveries_;  // first round that brings an expert of a layer to a node
};

// Tables of all layers as rounds are applied one after another.
class TableWriter {
 public:
  explicit TableWriter(const Placement& from)
      : topology_(from.topology()),
        num_slots_(from.num_slots()),
        slots_(from.slot_to_expert().begin(), from.slot_to_expert().end()) {}

  Round Write(const std::vector<RankedCycle>& cycles) {
    Round round;
    std::vector<int> queued(topology_.num_ranks(), 0);
    std::vector<int> layers;
    for (const RankedCycle& cycle : cycles) {
      layers.push_back(cycle.layer);
      for (const SlotChange& change : cycle.cycle.changes) {
        round.arrivals.push_back({cycle.layer, change.rank, change.arriving, 0});
      }
    }
    std::sort(round.arrivals.begin(), round.arrivals.end(), [](const Arrival& a, const Arrival& b) {
      return std::tie(a.layer, a.rank, a.expert) < std::tie(b.layer, b.rank, b.expert);
    });
    for (Arrival& arrival : round.arrivals) {
      arrival.source_rank = ChooseSource(arrival, queued);
      ++queued[arrival.source_rank];
    }
    for (const RankedCycle& cycle : cycles) {
      Apply(cycle);
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

  // Same node first, then the holder with the least queued to send, then the lowest rank.
  int ChooseSource(const Arrival& arrival, const std::vector<int>& queued) {
    const std::span<const int32_t> row = Row(arrival.layer);
    int best = -1;
    bool best_near = false;
    for (int slot = 0; slot < num_slots_; ++slot) {
      if (row[slot] != arrival.expert) {
        continue;
      }
      const int rank = topology_.rank_of_slot(slot);
      const bool near = topology_.node_of_rank(rank) == topology_.node_of_rank(arrival.rank);
      if (best < 0 || (near && !best_near) || (near == best_near && queued[rank] < queued[best])) {
        best = rank;
        best_near = near;
      }
    }
    STEELYARD_CHECK_GE(best, 0);
    return best;
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
// joins the last round.
void FinishLayers(const Placement& from, const Placement& to, std::vector<Round>& rounds) {
  for (int layer = 0; layer < to.num_layers(); ++layer) {
    if (SameLayer(from, to, layer)) {
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

}  // namespace

Migration PlanMigration(const Placement& from, const Placement& to, const LoadWindow& loads,
                        int staging_buffers) {
  STEELYARD_CHECK(from.topology() == to.topology());
  STEELYARD_CHECK_EQ(from.num_layers(), to.num_layers());
  STEELYARD_CHECK_EQ(from.num_experts(), to.num_experts());
  STEELYARD_CHECK_GE(staging_buffers, 1);
  std::vector<RankedCycle> cycles;
  for (int layer = 0; layer < from.num_layers(); ++layer) {
    for (RankedCycle& cycle : RankCycles(from, to, loads, layer)) {
      cycles.push_back(std::move(cycle));
    }
  }
  std::stable_sort(cycles.begin(), cycles.end(),
                   [](const RankedCycle& a, const RankedCycle& b) { return a.gain > b.gain; });
  RoundPacker packer(from, staging_buffers);
  for (RankedCycle& cycle : cycles) {
    packer.Add(std::move(cycle));
  }
  Migration migration;
  TableWriter writer(from);
  for (const std::vector<RankedCycle>& round : packer.Take()) {
    migration.rounds.push_back(writer.Write(round));
    migration.num_arrivals += static_cast<int64_t>(migration.rounds.back().arrivals.size());
  }
  FinishLayers(from, to, migration.rounds);
  return migration;
}

}  // namespace steelyard
