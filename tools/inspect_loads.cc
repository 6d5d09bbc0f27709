#include "inspect_loads.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>

#include "base/json.h"
#include "observe/heat_map.h"
#include "observe/picture.h"
#include "plan/plan_builder.h"
#include "plan/score.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

// Every layer's experts from hottest to coldest.
struct ExpertSkew {
  std::vector<double> by_layer;         // [num_layers, num_experts] over the mean of the layer
  std::vector<double> mean;             // [num_experts] over layers
  double hottest_by_mean_expert = 0.0;  // mean over layers
};

ExpertSkew MeasureSkew(const LoadWindow& window) {
  const LoadShape& shape = window.shape();
  ExpertSkew skew;
  skew.mean.resize(shape.num_experts);
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    std::vector<double> experts(shape.num_experts, 0.0);
    window.AddLayerTo(layer, experts);
    std::sort(experts.begin(), experts.end(), std::greater<>());
    const double total = std::accumulate(experts.begin(), experts.end(), 0.0);
    for (int i = 0; i < shape.num_experts; ++i) {
      experts[i] = total > 0.0 ? experts[i] * shape.num_experts / total : 1.0;
      skew.mean[i] += experts[i] / shape.num_layers;
    }
    skew.by_layer.insert(skew.by_layer.end(), experts.begin(), experts.end());
  }
  skew.hottest_by_mean_expert = skew.mean[0];
  return skew;
}

std::string ExpertHeatMap(const ExpertSkew& skew, const LoadShape& shape) {
  return HeatMap({skew.by_layer.data(), static_cast<size_t>(shape.num_layers),
                  static_cast<size_t>(shape.num_experts)},
                 {.row_name = "layer",
                  .column_name = "expert",
                  .style = HeatMapStyleOfOutput(),
                  .max_rows = 64,
                  .max_columns = 64});
}

// What only a trace knows.
void AddOrigin(const LoadTrace& trace, OrderedJson& out) {
  if (trace.steps.empty()) {
    return;
  }
  const TraceOrigin& origin = trace.origin;
  out["steps"] = std::accumulate(trace.steps.begin(), trace.steps.end(), uint64_t{0});
  out["phase_names"] = origin.phase_names;
  out["model"] = origin.model.empty() ? OrderedJson(nullptr) : OrderedJson(origin.model);
  const std::pair<const char*, int> numbers[] = {{"num_ranks", origin.num_ranks},
                                                 {"slots_per_rank", origin.slots_per_rank},
                                                 {"num_nodes", origin.num_nodes},
                                                 {"top_k", origin.top_k}};
  for (const auto& number : numbers) {
    out[number.first] = number.second > 0 ? OrderedJson(number.second) : OrderedJson(nullptr);
  }
}

std::string OriginText(const LoadTrace& trace) {
  const TraceOrigin& origin = trace.origin;
  std::string text;
  if (!trace.steps.empty()) {
    text += fmt::format("recorded over {} steps",
                        std::accumulate(trace.steps.begin(), trace.steps.end(), uint64_t{0}));
    text += origin.model.empty() ? "" : fmt::format(" of {}", origin.model);
    if (origin.num_ranks > 0) {
      text += fmt::format(" on {} ranks x {} slots", origin.num_ranks, origin.slots_per_rank);
    }
    text += origin.top_k > 0 ? fmt::format(", top {}", origin.top_k) : "";
    text += '\n';
  }
  return text;
}

}  // namespace

LoadLevel MeasureLevel(const Placement& placement, const LoadWindow& window) {
  const Topology& topology = placement.topology();
  const int num_ranks = topology.num_ranks();
  LoadLevel level;
  level.rank_loads.resize(num_ranks);
  ScoreWorkspace workspace;
  const LoadShape& shape = window.shape();
  std::vector<double> loads(placement.num_experts());
  std::vector<double> rows(static_cast<size_t>(shape.num_bins) * shape.num_experts);
  const Span2<double> bins(rows, shape.num_bins, shape.num_experts);
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    std::fill(loads.begin(), loads.end(), 0.0);
    window.AddLayerTo(layer, loads);
    ReadLayerBins(window, layer, bins);
    level.imbalance += Imbalance(bins, placement.slot_to_expert(layer), placement.shares(layer),
                                 topology, {}, workspace);
    level.lower_bound +=
        LowerBound(loads, topology,
                   placement.has_shares() ? SplitRule::kWeighted : SplitRule::kEven, workspace);
    const double total = std::accumulate(loads.begin(), loads.end(), 0.0);
    const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(placement, layer);
    std::vector<double> ranks(num_ranks, total > 0.0 ? 0.0 : 1.0 / num_ranks);
    for (int expert = 0; total > 0.0 && expert < placement.num_experts(); ++expert) {
      for (const int32_t slot : slots[expert]) {
        const double share = placement.has_shares()
                                 ? placement.shares(layer)[slot]
                                 : 1.0 / static_cast<double>(slots[expert].size());
        ranks[topology.rank_of_slot(slot)] += loads[expert] * share / total;
      }
    }
    for (int rank = 0; rank < num_ranks; ++rank) {
      level.rank_loads[rank] += total > 0.0 ? ranks[rank] : 0.0;
      level.by_layer.push_back(ranks[rank] * num_ranks);
    }
  }
  level.imbalance /= placement.num_layers();
  level.lower_bound /= placement.num_layers();
  return level;
}

std::string RankHeatMap(const LoadLevel& level) {
  const size_t num_ranks = level.rank_loads.size();
  return HeatMap({level.by_layer.data(), level.by_layer.size() / num_ranks, num_ranks},
                 {.row_name = "layer",
                  .column_name = "rank",
                  .style = HeatMapStyleOfOutput(),
                  .max_rows = 64,
                  .max_columns = 64});
}

Status InspectLoads(const std::string& file, const TopologyOptions& topology, bool json) {
  STEELYARD_ASSIGN_OR_RETURN(const LoadTrace trace, ReadLoadTrace(file));
  const LoadShape& shape = trace.loads.shape();
  const ExpertSkew skew = MeasureSkew(trace.loads);
  std::optional<LoadLevel> level;
  if (topology.any_given()) {
    STEELYARD_ASSIGN_OR_RETURN(const Topology made, topology.Resolve(shape.num_experts, nullptr));
    STEELYARD_ASSIGN_OR_RETURN(const Placement contiguous,
                               Placement::Contiguous(made, shape.num_layers, shape.num_experts));
    level = MeasureLevel(contiguous, trace.loads);
  }
  if (json) {
    OrderedJson out = {{"kind", "loads"},
                       {"valid", true},
                       {"num_bins", shape.num_bins},
                       {"num_phases", shape.num_phases},
                       {"num_layers", shape.num_layers},
                       {"num_experts", shape.num_experts},
                       {"hottest_by_mean_expert", skew.hottest_by_mean_expert}};
    if (level.has_value()) {
      out["imbalance"] = level->imbalance;
      out["rank_loads"] = level->rank_loads;
    }
    AddOrigin(trace, out);
    fmt::print("{}\n", out.dump());
    return Status::Ok();
  }
  fmt::print("{}: loads of {}\n{}", file, trace.loads.ToString(), OriginText(trace));
  fmt::print("valid: finite, not negative; hottest / mean expert {:.2f} (mean over layers)\n",
             skew.hottest_by_mean_expert);
  fmt::print("experts from hottest to coldest: {}\n{}", Sparkline(skew.mean),
             ExpertHeatMap(skew, shape));
  if (level.has_value()) {
    fmt::print("on {} ranks, contiguous: imbalance {:.4f} (mean over layers)\n{}{}", topology.ranks,
               level->imbalance, RankLoadPicture(level->rank_loads), RankHeatMap(*level));
  }
  return Status::Ok();
}

}  // namespace steelyard
