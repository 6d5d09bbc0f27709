// steelyard inspect: what a placement or a file of loads is, whether it is valid, and how level.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>

#include "base/json.h"
#include "command.h"
#include "observe/picture.h"
#include "plan/score.h"
#include "steelyard/placement/placement_file.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

struct InspectCommand {
  std::string file;
  std::string loads;
  bool json = false;
  TopologyOptions topology;

  Status Run() const;
  Status InspectPlacement() const;
  Status InspectLoads() const;
};

// Loads of all ranks summed over layers, each layer counting alike, and the mean imbalance of the
// layers.
struct Level {
  std::vector<double> rank_loads;
  double imbalance = 0.0;
  double lower_bound = 0.0;
};

Level Measure(const Placement& placement, const LoadWindow& window) {
  const int num_ranks = placement.topology().num_ranks();
  Level level{std::vector<double>(num_ranks, 0.0), 0.0, 0.0};
  ScoreWorkspace workspace;
  std::vector<double> loads(placement.num_experts());
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    std::fill(loads.begin(), loads.end(), 0.0);
    window.AddLayerTo(layer, loads);
    const Span2<const double> bins(loads.data(), 1, loads.size());
    level.imbalance += Imbalance(bins, placement.slot_to_expert(layer), placement.shares(layer),
                                 placement.topology(), {}, workspace);
    level.lower_bound += LowerBound(loads, num_ranks, placement.num_slots(), workspace);
    const double total = std::accumulate(loads.begin(), loads.end(), 0.0);
    const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(placement, layer);
    for (int expert = 0; total > 0.0 && expert < placement.num_experts(); ++expert) {
      for (const int32_t slot : slots[expert]) {
        const double share = placement.has_shares()
                                 ? placement.shares(layer)[slot]
                                 : 1.0 / static_cast<double>(slots[expert].size());
        level.rank_loads[placement.topology().rank_of_slot(slot)] += loads[expert] * share / total;
      }
    }
  }
  level.imbalance /= placement.num_layers();
  level.lower_bound /= placement.num_layers();
  return level;
}

LoadWindow UniformLoads(const Placement& placement) {
  const LoadShape shape{1, 1, placement.num_layers(), placement.num_experts()};
  return *LoadWindow::Create(shape, std::vector<double>(shape.num_counts(), 1.0));
}

Status InspectCommand::InspectPlacement() const {
  if (topology.any_given()) {
    throw UsageError{"--ranks and its like go with loads; " + file + " is a placement"};
  }
  STEELYARD_ASSIGN_OR_RETURN(const Placement placement,
                             ReadPlacementFile(file, DuplicateRule::kAllow));
  LoadWindow window = UniformLoads(placement);
  if (!loads.empty()) {
    STEELYARD_ASSIGN_OR_RETURN(window, ReadLoads(loads));
    if (window.shape().num_layers != placement.num_layers() ||
        window.shape().num_experts != placement.num_experts()) {
      return InvalidArgument(fmt::format("{}: {}, but {} is {}", loads, window.ToString(), file,
                                         placement.ToString()));
    }
  }
  const Level level = Measure(placement, window);
  const Topology& shape = placement.topology();
  if (json) {
    OrderedJson out = {{"kind", "placement"},
                       {"valid", true},
                       {"num_layers", placement.num_layers()},
                       {"num_experts", placement.num_experts()},
                       {"num_ranks", shape.num_ranks()},
                       {"slots_per_rank", shape.slots_per_rank()},
                       {"num_nodes", shape.num_nodes()},
                       {"duplicates", placement.CountDuplicates()},
                       {"digest", fmt::format("{:016x}", placement.Digest())},
                       {"imbalance", level.imbalance},
                       {"lower_bound", level.lower_bound},
                       {"rank_loads", level.rank_loads}};
    fmt::print("{}\n", out.dump());
    return Status::Ok();
  }
  fmt::print("{}: a placement of {}\n", file, placement.ToString());
  fmt::print("valid: every expert has a slot; {} duplicates on a rank; digest {:016x}\n",
             placement.CountDuplicates(), placement.Digest());
  fmt::print("imbalance {:.4f} (mean over layers, lower bound {:.4f}) under {}\n", level.imbalance,
             level.lower_bound, loads.empty() ? "equal loads of all experts" : loads);
  fmt::print("{}", RankLoadPicture(level.rank_loads));
  return Status::Ok();
}

Status InspectCommand::InspectLoads() const {
  if (!loads.empty()) {
    throw UsageError{"--loads goes with a placement; " + file + " is loads itself"};
  }
  STEELYARD_ASSIGN_OR_RETURN(const LoadWindow window, ReadLoads(file));
  const LoadShape& shape = window.shape();
  double skew = 0.0;
  std::vector<double> all(shape.num_experts, 0.0);
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    std::vector<double> experts(shape.num_experts, 0.0);
    window.AddLayerTo(layer, experts);
    const double total = std::accumulate(experts.begin(), experts.end(), 0.0);
    const double hottest = *std::max_element(experts.begin(), experts.end());
    skew += total > 0.0 ? hottest * shape.num_experts / total : 1.0;
    std::sort(experts.begin(), experts.end(), std::greater<>());
    for (int i = 0; total > 0.0 && i < shape.num_experts; ++i) {
      all[i] += experts[i] / total;
    }
  }
  skew /= shape.num_layers;
  std::optional<Level> level;
  if (topology.any_given()) {
    STEELYARD_ASSIGN_OR_RETURN(const Topology made, topology.Resolve(shape.num_experts, nullptr));
    STEELYARD_ASSIGN_OR_RETURN(const Placement contiguous,
                               Placement::Contiguous(made, shape.num_layers, shape.num_experts));
    level = Measure(contiguous, window);
  }
  if (json) {
    OrderedJson out = {{"kind", "loads"},
                       {"valid", true},
                       {"num_bins", shape.num_bins},
                       {"num_layers", shape.num_layers},
                       {"num_experts", shape.num_experts},
                       {"hottest_by_mean_expert", skew}};
    if (level.has_value()) {
      out["imbalance"] = level->imbalance;
      out["rank_loads"] = level->rank_loads;
    }
    fmt::print("{}\n", out.dump());
    return Status::Ok();
  }
  fmt::print("{}: loads of {}\n", file, window.ToString());
  fmt::print("valid: finite, not negative; hottest / mean expert {:.2f} (mean over layers)\n",
             skew);
  fmt::print("experts from hottest to coldest: {}\n", Sparkline(all));
  if (level.has_value()) {
    fmt::print("on {} ranks, contiguous: imbalance {:.4f} (mean over layers)\n{}", topology.ranks,
               level->imbalance, RankLoadPicture(level->rank_loads));
  }
  return Status::Ok();
}

Status InspectCommand::Run() const {
  // A placement is a JSON object, loads in JSON are an array.
  if (file.ends_with(".json")) {
    STEELYARD_ASSIGN_OR_RETURN(const Json parsed, ReadJsonFile(file));
    if (!parsed.is_array()) {
      return InspectPlacement();
    }
  }
  return InspectLoads();
}

}  // namespace

void AddInspectCommand(CLI::App& app) {
  const auto options = std::make_shared<InspectCommand>();
  CLI::App* command =
      AddCommand(app, "inspect",
                 "Say what a placement or a file of loads is, whether it is valid, and how level",
                 [options] { return options->Run(); });
  command->add_option("file", options->file, "PLACEMENT.json, or loads as `plan` takes them")
      ->required();
  command->add_option("--loads", options->loads,
                      "Judge a placement by these loads instead of equal ones");
  options->topology.AddTo(command);
  AddJsonOption(command, &options->json);
}

}  // namespace steelyard
