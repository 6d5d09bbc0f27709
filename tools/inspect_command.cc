// steelyard inspect: what a placement or a file of loads is, whether it is valid, and how level.
#include <fmt/format.h>

#include <memory>

#include "base/json.h"
#include "command.h"
#include "convert_traces.h"
#include "inspect_loads.h"
#include "observe/picture.h"
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
};

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
  const LoadLevel level = MeasureLevel(placement, window);
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
  if (!loads.empty()) {
    fmt::print("{}", RankHeatMap(level));
  }
  return Status::Ok();
}

Status InspectCommand::Run() const {
  if (file.ends_with(".json") && !IsTraceFile(file)) {
    return InspectPlacement();
  }
  if (!loads.empty()) {
    throw UsageError{"--loads goes with a placement; " + file + " is loads itself"};
  }
  return InspectLoads(file, topology, json);
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
