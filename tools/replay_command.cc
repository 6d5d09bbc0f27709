// steelyard replay: a trace through policies, each plan scored on the window after it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/json.h"
#include "command.h"
#include "observe/picture.h"
#include "policy_options.h"
#include "sim/replay.h"
#include "steelyard/base/executor.h"
#include "steelyard/placement/placement_file.h"
#include "topology_options.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

struct ReplayCommand {
  std::string trace;
  std::vector<std::string> policies = {"all"};
  std::vector<double> prices = {PlanOptions().price};
  int bins_per_window = 1;
  bool gated = false;
  std::string dump;
  bool json = false;
  TopologyOptions topology;
  PolicyOptions policy;

  Status Run();
  Status CheckPolicies();
  Result<std::vector<PolicyReplay>> ReplayAll(const ReplayInput& input) const;
  Status Dump(const std::string& name, int window_idx, const Placement& in_force) const;
};

// Puts what `all` stands for in its place; a name that is none is bad usage.
Status ReplayCommand::CheckPolicies() {
  std::vector<std::string> named;
  for (const std::string& name : policies) {
    const bool all = name == "all";
    if (!all && !IsReplayPolicy(name)) {
      throw UsageError{fmt::format("--policies {}: not one of all, {}, {}", name,
                                   fmt::join(PolicyNames(), ", "), kClairvoyant)};
    }
    for (const std::string& each : all ? AllReplayPolicies() : std::vector<std::string>{name}) {
      if (std::find(named.begin(), named.end(), each) == named.end()) named.push_back(each);
    }
  }
  policies = std::move(named);
  return Status::Ok();
}

Status ReplayCommand::Dump(const std::string& name, int window_idx,
                           const Placement& in_force) const {
  const std::filesystem::path folder = std::filesystem::path(dump) / name;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return InvalidArgument(fmt::format("{}: {}", folder.string(), error.message()));
  }
  return WritePlacementFile(folder / fmt::format("window_{:04d}.json", window_idx), in_force);
}

Result<std::vector<PolicyReplay>> ReplayCommand::ReplayAll(const ReplayInput& input) const {
  const std::unique_ptr<Executor> executor = Executor::Threads(policy.threads);
  ReplayContext context;
  context.executor = executor.get();
  std::vector<PolicyReplay> replays;
  for (const std::string& name : policies) {
    if (!dump.empty()) {
      context.after_plan = [this, &name](int window_idx, const Placement& in_force) {
        return Dump(name, window_idx, in_force);
      };
    }
    STEELYARD_ASSIGN_OR_RETURN(PolicyReplay replay, ReplayPolicy(name, input, context));
    replays.push_back(std::move(replay));
  }
  return replays;
}

OrderedJson ToJson(const PolicyReplay& replay) {
  return {{"policy", replay.policy},
          {"imbalance_plan", replay.imbalance_plan},
          {"imbalance_next", replay.imbalance_next},
          {"imbalance_next_p95", replay.imbalance_next_p95},
          {"first_moves", replay.first_moves},
          {"moves", replay.moves},
          {"moves_per_cycle", replay.moves_per_cycle},
          {"plan_ms", replay.plan_ms},
          {"duplicates", replay.duplicates}};
}

Status ReplayCommand::Run() {
  STEELYARD_RETURN_IF_ERROR(CheckPolicies());
  STEELYARD_RETURN_IF_ERROR(policy.Check());
  PlanOptions plan = policy.plan;
  plan.price = prices.front();
  STEELYARD_ASSIGN_OR_RETURN(const LoadWindow loads, ReadLoads(trace));
  const Result<std::vector<LoadWindow>> windows = CutWindows(loads, bins_per_window);
  if (!windows.ok()) return windows.status().WithContext(trace);
  STEELYARD_ASSIGN_OR_RETURN(const Topology made,
                             topology.Resolve(loads.shape().num_experts, nullptr));
  STEELYARD_ASSIGN_OR_RETURN(
      const Placement start,
      Placement::Contiguous(made, loads.shape().num_layers, loads.shape().num_experts));
  ReplayInput input;
  input.windows = *windows;
  input.start = &start;
  input.plan = plan;
  input.gated = gated;
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<PolicyReplay> replays, ReplayAll(input));
  if (json) {
    OrderedJson out;
    out["policies"] = OrderedJson::array();
    for (const PolicyReplay& replay : replays) out["policies"].push_back(ToJson(replay));
    fmt::print("{}\n", out.dump());
    return Status::Ok();
  }
  std::vector<std::vector<std::string>> rows;
  for (const PolicyReplay& replay : replays) {
    rows.push_back({replay.policy, fmt::format("{:.4f}", replay.imbalance_plan),
                    fmt::format("{:.4f}", replay.imbalance_next),
                    fmt::format("{:.4f}", replay.imbalance_next_p95),
                    std::to_string(replay.first_moves), std::to_string(replay.moves),
                    fmt::format("{:.1f}", replay.moves_per_cycle),
                    fmt::format("{:.2f}", replay.plan_ms), std::to_string(replay.duplicates)});
  }
  fmt::print("{}", TextTable({"policy", "plan", "next", "next p95", "first moves", "moves",
                              "moves/cycle", "plan ms", "duplicates"},
                             rows));
  return Status::Ok();
}

}  // namespace

void AddReplayCommand(CLI::App& app) {
  const auto options = std::make_shared<ReplayCommand>();
  CLI::App* command = AddCommand(
      app, "replay",
      "Replay a trace through policies: plan on the windows so far, score on the next one",
      [options] { return options->Run(); });
  command
      ->add_option("--trace", options->trace, "Tokens per expert over time, as `plan` takes them")
      ->required();
  command
      ->add_option("--bins-per-window", options->bins_per_window,
                   "Bins of the trace that make a window; bins left over are dropped")
      ->check(WholeNumber(1, 1 << 30))
      ->capture_default_str();
  command
      ->add_option(
          "--policies", options->policies,
          fmt::format("What to compare, separated by commas: {}, clairvoyant (plans on the "
                      "window it is scored on), or all but the last",
                      fmt::join(PolicyNames(), ", ")))
      ->delimiter(',')
      ->capture_default_str();
  command->add_flag("--gated", options->gated,
                    "Leave layers alone whose change the policy itself does not want applied");
  command->add_option("--dump", options->dump,
                      "Write DIR/POLICY/window_0000.json, ..: the placement after each plan");
  options->topology.AddTo(command);
  options->policy.AddTo(command);
  options->policy.AddOfflineTo(command);
  command->remove_option(command->get_option("--policy"));
  command->remove_option(command->get_option("--price"));
  command
      ->add_option("--price", options->prices,
                   "Imbalance that moving all slots of a layer must buy (steelyard); the first of "
                   "several plans, and all of them make the frontier")
      ->delimiter(',')
      ->check(NotNegative())
      ->capture_default_str();
  AddJsonOption(command, &options->json);
}

}  // namespace steelyard
