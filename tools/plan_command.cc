// steelyard plan: loads and the placement in force -> a new placement, with the report.
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>

#include "base/json.h"
#include "command.h"
#include "observe/picture.h"
#include "observe/progress.h"
#include "output_files.h"
#include "steelyard/base/executor.h"
#include "steelyard/placement/placement_file.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

// The placement in force and the ranks to plan for.
struct Ranks {
  Placement in_force;
  Topology target;
};

struct PlanCommand {
  std::string loads;
  std::string current;
  std::string out;
  bool json = false;
  TopologyOptions topology;
  PolicyOptions policy;

  Status Run(const std::string& config) const;
  Result<Ranks> PlacementInForce(const LoadShape& shape) const;
  Status Print(const Plan& plan, double plan_ms) const;
};

// Nodes and speeds are facts about the ranks in force, so that the placement in force is judged by
// them too; it stays where it was on ranks that are dead now, or have other slots.
Result<Placement> OnTheseRanks(const Placement& placement, const Topology& ranks) {
  TopologySpec spec = placement.topology().spec();
  if (spec.num_ranks == ranks.num_ranks()) {
    spec.num_nodes = ranks.num_nodes();
    spec.rank_speed = ranks.spec().rank_speed;
  }
  STEELYARD_ASSIGN_OR_RETURN(const Topology topology, Topology::Create(spec));
  const std::span<const int32_t> slots = placement.slot_to_expert();
  std::vector<double> shares;
  for (int layer = 0; placement.has_shares() && layer < placement.num_layers(); ++layer) {
    shares.insert(shares.end(), placement.shares(layer).begin(), placement.shares(layer).end());
  }
  return Placement::Create(topology, placement.num_experts(), {slots.begin(), slots.end()},
                           DuplicateRule::kAllow, std::move(shares));
}

Result<Ranks> PlanCommand::PlacementInForce(const LoadShape& shape) const {
  if (current.empty()) {
    STEELYARD_ASSIGN_OR_RETURN(const Topology made, topology.Resolve(shape.num_experts, nullptr));
    STEELYARD_ASSIGN_OR_RETURN(Placement contiguous,
                               Placement::Contiguous(made, shape.num_layers, shape.num_experts));
    return Ranks{std::move(contiguous), made};
  }
  STEELYARD_ASSIGN_OR_RETURN(const Placement read,
                             ReadPlacementFile(current, DuplicateRule::kAllow));
  if (read.num_layers() != shape.num_layers || read.num_experts() != shape.num_experts) {
    return InvalidArgument(fmt::format(
        "{}: {} layers of {} experts, but {} has {} layers of {} experts", current,
        read.num_layers(), read.num_experts(), loads, shape.num_layers, shape.num_experts));
  }
  Result<Topology> made = topology.Resolve(shape.num_experts, &read.topology());
  if (!made.ok()) {
    return made.status().WithContext(current);
  }
  STEELYARD_ASSIGN_OR_RETURN(Placement in_force, OnTheseRanks(read, *made));
  return Ranks{std::move(in_force), *std::move(made)};
}

OrderedJson ToJson(const Plan& plan, const std::string& policy, double plan_ms,
                   int64_t expert_bytes) {
  OrderedJson json;
  json["policy"] = policy;
  json["plan_ms"] = plan_ms;
  json["moves"] = plan.moves;
  json["bytes"] = expert_bytes != 0 ? OrderedJson(plan.moves * expert_bytes) : OrderedJson(nullptr);
  json["imbalance_before"] = plan.imbalance_before();
  json["imbalance_after"] = plan.imbalance_after();
  json["lower_bound"] = plan.lower_bound();
  json["duplicates"] = plan.duplicates;
  json["digest"] = fmt::format("{:016x}", plan.digest);
  json["layers"] = OrderedJson::array();
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const LayerReport& report = plan.layers[layer];
    json["layers"].push_back({{"layer", layer},
                              {"imbalance_before", report.imbalance_before},
                              {"imbalance_after", report.imbalance_after},
                              {"lower_bound", report.lower_bound},
                              {"moves", report.moves},
                              {"reason", report.Reason()},
                              {"predictor", PredictorName(report.predictor)}});
  }
  return json;
}

std::string ToText(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const LayerReport& report = plan.layers[layer];
    rows.push_back({std::to_string(layer), fmt::format("{:.4f}", report.imbalance_before),
                    fmt::format("{:.4f}", report.imbalance_after),
                    fmt::format("{:.4f}", report.lower_bound), std::to_string(report.moves),
                    report.Reason()});
  }
  rows.push_back({"all", fmt::format("{:.4f}", plan.imbalance_before()),
                  fmt::format("{:.4f}", plan.imbalance_after()),
                  fmt::format("{:.4f}", plan.lower_bound()), std::to_string(plan.moves), ""});
  return TextTable({"layer", "before", "after", "bound", "moves", "reason"}, rows);
}

Status PlanCommand::Print(const Plan& plan, double plan_ms) const {
  if (json) {
    fmt::print("{}\n", ToJson(plan, policy.policy, plan_ms, policy.plan.expert_bytes).dump());
    return Status::Ok();
  }
  fmt::print("{}", ToText(plan));
  fmt::print("{}: {} in {:.2f} ms\n", policy.policy, plan.ToString(), plan_ms);
  if (policy.plan.expert_bytes != 0) {
    fmt::print("{} bytes must move\n", plan.moves * policy.plan.expert_bytes);
  }
  if (!out.empty()) {
    fmt::print("placement written to {}\n", out);
  }
  return Status::Ok();
}

Status PlanCommand::Run(const std::string& config) const {
  STEELYARD_RETURN_IF_ERROR(policy.Check());
  STEELYARD_RETURN_IF_ERROR(CheckOutputs(
      {{"--loads", loads}, {"--current", current}, {"--config", config}}, {{"--out", out}}));
  STEELYARD_ASSIGN_OR_RETURN(const LoadWindow window, ReadLoads(loads));
  policy.CheckGroups(window.shape().num_experts);
  STEELYARD_ASSIGN_OR_RETURN(const Ranks ranks, PlacementInForce(window.shape()));
  CheckTakesRanks("--policy", policy.policy, ranks.in_force.topology(), ranks.target);
  STEELYARD_ASSIGN_OR_RETURN(const std::unique_ptr<Policy> planner, MakePolicy(policy.policy));
  const std::unique_ptr<Executor> threads = Executor::Threads(policy.threads);
  STEELYARD_RETURN_IF_ERROR(
      planner->Prepare(ranks.in_force, window.shape(), 1, threads->num_workers()));
  std::optional<ProgressBar> bar(std::in_place, "plan");
  ProgressExecutor executor(*threads, [&bar](int done, int total) {
    bar->Show(done, total, [&] { return fmt::format("{} of {} layers", done, total); });
  });
  PolicyState state;
  PlanContext context;
  context.executor = &executor;
  PlanInput input{&ranks.in_force, {&window, 1}, policy.plan};
  if (!(ranks.target == ranks.in_force.topology())) {
    input.target = &ranks.target;
  }
  const auto begin = std::chrono::steady_clock::now();
  Result<Plan> plan = planner->MakePlan(input, state, context);
  const double plan_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  bar.reset();  // ends its line
  if (!plan.ok()) {
    return plan.status();
  }
  if (!out.empty()) {
    STEELYARD_RETURN_IF_ERROR(WritePlacementFile(out, plan->placement));
  }
  return Print(*plan, plan_ms);
}

}  // namespace

void AddPlanCommand(CLI::App& app) {
  const auto options = std::make_shared<PlanCommand>();
  CLI::App* command = AddCommand(
      app, "plan",
      "Plan a placement from recorded loads, with the fewest moves from the one in force",
      [options](const std::string& config) { return options->Run(config); });
  AddPathOption(command, "--loads", options->loads,
                "Tokens per expert: a trace (.h5), .npy, .npz or JSON, [layers, experts] or "
                "[bins, layers, experts]")
      ->required();
  AddPathOption(command, "--current", options->current,
                "The placement in force; contiguous without it");
  AddPathOption(command, "--out", options->out, "Write the new placement here");
  options->topology.AddTo(command);
  options->policy.AddTo(command);
  options->policy.AddOfflineTo(command);
  AddJsonOption(command, &options->json);
  AddExamples(command,
              {"steelyard plan --loads loads.npy --ranks 8 --out plan.json",
               "steelyard plan --loads loads.npy --current placement.json --max-moves 20",
               "steelyard plan --loads loads.h5 --ranks 4 --slots 10,10,8,8 --speeds 1,1,0.8,0.8",
               "steelyard plan --loads loads.npy --ranks 8 --policy deepseek --groups 8 --json"});
}

}  // namespace steelyard
