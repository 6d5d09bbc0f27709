// steelyard demo: the same drifting requests served twice, unbalanced and balanced, side by side.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/json.h"
#include "command.h"
#include "engine/serve/serve.h"
#include "interrupt.h"
#include "observe/picture.h"
#include "observe/progress.h"
#include "observe/run_summary.h"
#include "output_files.h"

namespace steelyard {
namespace {

// A step that waited longer than this part of all step time is a stall.
constexpr double kStallLimit = 1e-4;

struct DemoCommand {
  std::string model = "models/qwen3_moe_tiny";
  std::string requests = "models/demo_requests.jsonl";
  std::string out = "build/demo";
  int ranks = 4;
  int window = 16;
  int max_batch_tokens = 32;
  bool json = false;

  Status Run(const std::string& config) const;
};

// One of the two runs, and the loads of the ranks in its last windows.
struct DemoRun {
  RunSummary summary;
  std::vector<RequestResult> results;
};

Result<DemoRun> ServeOnce(const DemoCommand& demo, const ModelFiles& files,
                          const std::vector<Request>& work, BalanceMode mode) {
  ServeOptions options;
  options.num_ranks = demo.ranks;
  options.max_batch_tokens = demo.max_batch_tokens;
  options.balancer.mode = mode;
  options.balancer.window_steps = demo.window;
  options.cancel = &CatchInterrupts();
  const std::string name(BalanceModeName(mode));
  ProgressBar bar(name);
  options.on_progress = [&bar](const ServeProgress& progress) { bar.Show(progress); };
  STEELYARD_ASSIGN_OR_RETURN(ServeReport report, Serve(files, work, options));
  std::vector<RequestResult> results = std::move(report.results);
  return DemoRun{
      {demo.model, demo.ranks, name, static_cast<int64_t>(work.size()), std::move(report)},
      std::move(results)};
}

bool SameTokens(const DemoRun& a, const DemoRun& b) {
  return std::equal(
      a.results.begin(), a.results.end(), b.results.begin(), b.results.end(),
      [](const RequestResult& x, const RequestResult& y) { return x.new_tokens == y.new_tokens; });
}

double Milliseconds(Duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

std::vector<std::string> Row(const DemoRun& run) {
  const ServeReport& report = run.summary.report;
  const ImbalanceSummary imbalance = SummariseImbalance(report.balance);
  return {run.summary.balance,
          fmt::format("{:.3f}", imbalance.first),
          fmt::format("{:.3f}", imbalance.last),
          std::to_string(report.balance.moves),
          fmt::format("{:.1f}", static_cast<double>(report.balance.bytes_moved) / 1e6),
          fmt::format("{:.3f}", Milliseconds(report.balance.stall_total)),
          fmt::format("{:.2f}", report.step_times.p50_ms),
          fmt::format("{:.2f}", report.step_times.p99_ms),
          fmt::format("{:.0f}", report.tokens_per_second())};
}

void PrintComparison(const DemoRun& off, const DemoRun& async, bool tokens_equal) {
  fmt::print("\n{}", TextTable({"balance", "imbalance first", "last", "moves", "MB moved",
                                "stall ms", "step p50 ms", "p99", "tokens/s"},
                               {Row(off), Row(async)}));
  fmt::print("answers identical: {}\n", tokens_equal ? "yes" : "NO");
  const BalancerMetrics& balancing = async.summary.report.balance;
  const std::optional<double> before =
      MeanImbalanceFrom(off.summary.report.balance, balancing.first_window_after_commit);
  const std::optional<double> after =
      MeanImbalanceFrom(balancing, balancing.first_window_after_commit);
  if (before.has_value() && after.has_value()) {
    fmt::print(
        "mean imbalance from the first committed cycle on: {:.3f} off, {:.3f} async; {} cycles "
        "committed, {} kept, {} abandoned\n",
        *before, *after, balancing.cycles_committed, balancing.cycles_kept,
        balancing.cycles_abandoned);
  }
  fmt::print(
      "\nload / mean of each layer's hottest to coldest rank, last window, mean over layers\n{}",
      BeforeAfterPicture("off", off.summary.report.balance.windows.back().rank_loads, "async",
                         balancing.windows.back().rank_loads));
}

// What the demo promises; the first promise that was not kept.
Status CheckPromises(const DemoRun& async, bool tokens_equal) {
  const ServeReport& report = async.summary.report;
  if (!tokens_equal) {
    return DataLoss("the answers differ between balance off and async");
  }
  if (report.balance.moves == 0) {
    return Internal("no expert moved");
  }
  const double stalled = Milliseconds(report.balance.stall_total) / (report.seconds * 1e3);
  if (stalled > kStallLimit) {
    return Internal(fmt::format("steps waited for the balancer: {:.3f} ms, {:.4f} % of the time",
                                Milliseconds(report.balance.stall_total), stalled * 100));
  }
  return Status::Ok();
}

Status DemoCommand::Run(const std::string& config) const {
  CatchInterrupts();
  const std::filesystem::path file = std::filesystem::path(out) / "summary.json";
  CheckApart({"--out", file}, {{"--requests", requests}, {"--config", config}}, "reads");
  STEELYARD_RETURN_IF_ERROR(CheckOutputFolder({"--out", out}));
  STEELYARD_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(model));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<Request> work,
                             ReadRequests(requests, files.tokenizer, files.limits()));
  fmt::print(stderr, "{} requests, whose domain drifts, through {} on {} expert-parallel ranks\n",
             work.size(), model, ranks);
  STEELYARD_ASSIGN_OR_RETURN(const DemoRun off, ServeOnce(*this, files, work, BalanceMode::kOff));
  STEELYARD_ASSIGN_OR_RETURN(const DemoRun async,
                             ServeOnce(*this, files, work, BalanceMode::kAsync));
  const bool tokens_equal = SameTokens(off, async);
  if (off.summary.report.balance.windows.empty() || async.summary.report.balance.windows.empty()) {
    return InvalidArgument(
        fmt::format("{}: too little work for one window of {} steps", requests, window));
  }
  std::error_code error;
  std::filesystem::create_directories(out, error);
  const OrderedJson summary = {{"off", off.summary.ToJson()},
                               {"async", async.summary.ToJson()},
                               {"tokens_equal", tokens_equal}};
  STEELYARD_RETURN_IF_ERROR(WriteFileAtomically(file, summary.dump(2) + "\n"));
  if (json) {
    fmt::print("{}\n", summary.dump());
  } else {
    PrintComparison(off, async, tokens_equal);
    fmt::print("\nsummary written to {}\n", file.string());
  }
  return CheckPromises(async, tokens_equal);
}

}  // namespace

void AddDemoCommand(CLI::App& app) {
  const auto options = std::make_shared<DemoCommand>();
  CLI::App* command = AddCommand(
      app, "demo", "Serve requests whose domain drifts, unbalanced and balanced, and compare",
      [options](const std::string& config) { return options->Run(config); });
  AddPathOption(command, "--model", options->model, "A model folder")->capture_default_str();
  AddPathOption(command, "--requests", options->requests, "The requests, as `run` takes them")
      ->capture_default_str();
  AddPathOption(command, "--out", options->out, "Folder for summary.json")->capture_default_str();
  command->add_option("--ranks", options->ranks, "Ranks, each a thread")
      ->check(WholeNumber(1, 64))
      ->capture_default_str();
  command->add_option("--window", options->window, "Steps between two plans")
      ->check(WholeNumber(4, 1 << 20))
      ->capture_default_str();
  command->add_option("--max-batch-tokens", options->max_batch_tokens, "Tokens of a step, per rank")
      ->check(WholeNumber(1, 1 << 14))
      ->capture_default_str();
  AddJsonOption(command, &options->json);
  AddExamples(command, {"steelyard demo", "steelyard demo --ranks 2 --window 8 --out demo --json"});
}

}  // namespace steelyard
