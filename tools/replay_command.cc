// steelyard replay: a trace through policies, each plan scored on the window after it.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "command.h"
#include "interrupt.h"
#include "observe/progress.h"
#include "observe/replay_page.h"
#include "observe/replay_report.h"
#include "output_files.h"
#include "policy_options.h"
#include "replay_dump.h"
#include "sim/replay.h"
#include "steelyard/base/executor.h"
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
  std::string out;
  std::string report;
  std::optional<double> link_gbps;
  std::optional<double> step_ms;
  std::optional<double> tokens_per_step;
  std::optional<int> top_k;
  bool json = false;
  TopologyOptions topology;
  PolicyOptions policy;

  void AddTo(CLI::App* command);
  void AddCostTo(CLI::App* command);
  Status Run(const std::string& config);

 private:
  void ResolvePolicies();
  Result<std::optional<CostModel>> MakeCostModel(const TraceOrigin& origin) const;
  void CheckRanks(const Topology& ranks) const;
  Status ReplayAll(const ReplayInput& input, ReplayReport& report) const;
  Status Print(const ReplayReport& replayed) const;
};

// Puts what `all` stands for in its place.
void ReplayCommand::ResolvePolicies() {
  std::vector<std::string> named;
  for (const std::string& name : policies) {
    for (const std::string& each :
         name == "all" ? AllReplayPolicies() : std::vector<std::string>{name}) {
      if (std::find(named.begin(), named.end(), each) == named.end()) named.push_back(each);
    }
  }
  policies = std::move(named);
}

// None where no option asks for it.
Result<std::optional<CostModel>> ReplayCommand::MakeCostModel(const TraceOrigin& origin) const {
  if (!link_gbps.has_value() && !step_ms.has_value() && !tokens_per_step.has_value()) {
    return std::optional<CostModel>();
  }
  const int64_t expert_bytes = policy.plan.expert_bytes;
  if (!link_gbps.has_value() || !step_ms.has_value() || !tokens_per_step.has_value() ||
      expert_bytes == 0) {
    throw UsageError{
        "--link-gbps, --step-ms, --tokens-per-step and --expert-bytes make the cost model: give "
        "all of them or none of the first three"};
  }
  const CostModel model{.expert_bytes = expert_bytes,
                        .link_gbps = *link_gbps,
                        .step_ms = *step_ms,
                        .tokens_per_step = *tokens_per_step,
                        .top_k = static_cast<double>(top_k.value_or(std::max(1, origin.top_k)))};
  STEELYARD_RETURN_IF_ERROR(model.Validate());
  return std::optional<CostModel>(model);
}

void ReplayCommand::CheckRanks(const Topology& ranks) const {
  for (const std::string& name : policies) {
    if (name != kClairvoyant && name != "steelyard" && !ranks.is_plain()) {
      throw UsageError{fmt::format(
          "{} plans only for ranks that are all alive, with equal slots and speed: name "
          "--policies steelyard,{}",
          name, kClairvoyant)};
    }
  }
}

Status ReplayCommand::ReplayAll(const ReplayInput& input, ReplayReport& replayed) const {
  const auto num_plans = static_cast<int>(input.windows.size()) - 1;
  const ReplayDump dump_to(dump);
  STEELYARD_RETURN_IF_ERROR(dump_to.Begin(policies, num_plans));
  const size_t num_prices = prices.size() > 1 ? prices.size() : 0;
  const int64_t total = int64_t{num_plans} * static_cast<int64_t>(policies.size() + num_prices);
  ProgressBar bar("replay");
  int64_t done = 0;
  std::string_view doing;  // a policy, or the frontier
  const std::unique_ptr<Executor> threads = Executor::Threads(policy.threads);
  ProgressExecutor executor(*threads, [&](int layers, int num_layers) {
    bar.Show(done, total, [&] {
      return fmt::format("{}, window {} of {}, {} of {} layers", doing, done % num_plans + 1,
                         num_plans, layers, num_layers);
    });
  });
  ReplayContext context;
  context.executor = &executor;
  context.cancel = &CatchInterrupts();
  for (const std::string& name : policies) {
    doing = name;
    context.after_plan = [&](int window_idx, const Placement& in_force) {
      ++done;
      return dump_to.Write(name, window_idx, in_force);
    };
    STEELYARD_ASSIGN_OR_RETURN(PolicyReplay replay, ReplayPolicy(name, input, context));
    replayed.policies.push_back(std::move(replay));
  }
  if (num_prices > 0) {
    doing = "frontier";
    context.after_plan = [&done](int, const Placement&) {
      ++done;
      return Status::Ok();
    };
    STEELYARD_ASSIGN_OR_RETURN(replayed.frontier, ReplayFrontier(prices, input, context));
  }
  bar.Show(total, total, [] { return "done"; });
  return Status::Ok();
}

Status ReplayCommand::Print(const ReplayReport& replayed) const {
  const OrderedJson as_json = ReplayJson(replayed);
  if (!out.empty()) {
    STEELYARD_RETURN_IF_ERROR(WriteFileAtomically(out, as_json.dump() + "\n"));
  }
  if (!report.empty()) {
    STEELYARD_RETURN_IF_ERROR(WriteFileAtomically(report, ReplayPage(replayed)));
  }
  if (json) {
    fmt::print("{}\n", as_json.dump());
    return Status::Ok();
  }
  fmt::print("{}", ReplayText(replayed));
  for (const std::string& file : {out, report}) {
    if (!file.empty()) fmt::print("report written to {}\n", file);
  }
  return Status::Ok();
}

Status ReplayCommand::Run(const std::string& config) {
  ResolvePolicies();
  STEELYARD_RETURN_IF_ERROR(policy.Check());
  STEELYARD_RETURN_IF_ERROR(CheckOutputs({{"--trace", trace}, {"--config", config}},
                                         {{"--out", out}, {"--report", report}}));
  ReplayDump(dump).CheckApart(policies, {{"--trace", trace}, {"--config", config}},
                              {{"--out", out}, {"--report", report}});
  ReplayReport replayed;
  STEELYARD_ASSIGN_OR_RETURN(const LoadTrace read, ReadLoadTrace(trace));
  STEELYARD_ASSIGN_OR_RETURN(replayed.cost_model, MakeCostModel(read.origin));
  const LoadShape& shape = read.loads.shape();
  policy.CheckGroups(shape.num_experts);
  const Result<std::vector<LoadWindow>> windows = CutWindows(read.loads, bins_per_window);
  if (!windows.ok()) return windows.status().WithContext(trace);
  STEELYARD_ASSIGN_OR_RETURN(const Topology made, topology.Resolve(shape.num_experts, nullptr));
  STEELYARD_ASSIGN_OR_RETURN(const Placement start,
                             Placement::Contiguous(made, shape.num_layers, shape.num_experts));
  CheckRanks(made);
  ReplayInput input{*windows, &start, policy.plan, gated};
  input.plan.price = prices.front();
  replayed.setup = {trace,          shape, bins_per_window,         made,
                    prices.front(), gated, policy.plan.expert_bytes};
  STEELYARD_RETURN_IF_ERROR(ReplayAll(input, replayed));
  if (replayed.cost_model.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(replayed.costs,
                               CostsOf(replayed.policies, input, *replayed.cost_model));
  }
  return Print(replayed);
}

void ReplayCommand::AddTo(CLI::App* command) {
  AddPathOption(command, "--trace", trace, "Tokens per expert over time, as `plan` takes them")
      ->required();
  command
      ->add_option("--bins-per-window", bins_per_window,
                   "Bins of the trace that make a window; bins left over are dropped")
      ->check(WholeNumber(1, 1 << 30))
      ->capture_default_str();
  command
      ->add_option("--policies", policies,
                   fmt::format("What to compare, separated by commas: {}; clairvoyant (steelyard "
                               "planning on the window it is scored on); or all but that",
                               fmt::join(PolicyNames(), ", ")))
      ->delimiter(',')
      ->check(CLI::Validator(
          [](std::string& name) {
            return name == "all" || IsReplayPolicy(name)
                       ? std::string()
                       : fmt::format("{}: not one of all, {}, {}", name,
                                     fmt::join(PolicyNames(), ", "), kClairvoyant);
          },
          ""))
      ->capture_default_str();
  AddFlag(command, "--gated", gated,
          "Leave layers alone whose change the policy itself does not want applied");
  AddPathOption(command, "--dump", dump,
                "Write DIR/POLICY/window_0000.json, ..: the placement after each plan");
  AddPathOption(command, "--out", out, "Write what --json prints here");
  AddPathOption(command, "--report", report, "Write an HTML page with plots here");
  topology.AddTo(command);
  policy.AddTo(command);
  policy.AddOfflineTo(command);
  // Several policies and several prices instead of one.
  command->remove_option(command->get_option("--policy"));
  command->remove_option(command->get_option("--price"));
  command
      ->add_option("--price", prices,
                   "Imbalance that moving all slots of a layer must buy (steelyard); of several, "
                   "separated by commas, the first is replayed beside the other policies, and all "
                   "make the frontier")
      ->delimiter(',')
      ->check(NotNegative())
      ->capture_default_str();
  AddCostTo(command);
  AddJsonOption(command, &json);
}

void ReplayCommand::AddCostTo(CLI::App* command) {
  command
      ->add_option("--link-gbps", link_gbps,
                   "Cost model: gigabits per second of the link into a rank")
      ->check(Positive());
  command
      ->add_option("--step-ms", step_ms,
                   "Cost model: milliseconds that the MoE part of a step takes with the placement "
                   "at the start")
      ->check(Positive());
  command
      ->add_option("--tokens-per-step", tokens_per_step,
                   "Cost model: tokens of a step, all ranks together")
      ->check(Positive());
  command
      ->add_option("--top-k", top_k,
                   "Cost model: experts that a token goes to, each of which counts in the trace; "
                   "default what the trace says, else 1")
      ->check(WholeNumber(1, 1 << 16));
}

}  // namespace

void AddReplayCommand(CLI::App& app) {
  const auto options = std::make_shared<ReplayCommand>();
  CLI::App* command =
      AddCommand(app, "replay",
                 "Replay a trace through policies: plan on the windows so far, score on the next",
                 [options](const std::string& config) { return options->Run(config); });
  options->AddTo(command);
  AddExamples(
      command,
      {"steelyard replay --trace loads.npy --ranks 8 --bins-per-window 4",
       "steelyard replay --trace loads.npy --ranks 8 --policies deepseek,steelyard,clairvoyant "
       "--report replay.html",
       "steelyard replay --trace loads.npy --ranks 8 --policies steelyard --price 0.03,0.08,0.3",
       "steelyard replay --trace loads.h5 --ranks 8 --expert-bytes 44040192 --link-gbps 400 "
       "--step-ms 20 --tokens-per-step 4096"});
}

}  // namespace steelyard
