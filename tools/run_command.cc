// steelyard run: serves requests through a model on several ranks; answers as JSONL, and a summary.
#include "run_command.h"

#include <fmt/format.h>

#include <climits>
#include <cmath>
#include <map>
#include <memory>

#include "base/file.h"
#include "interrupt.h"
#include "observe/progress.h"
#include "observe/run_summary.h"
#include "output_files.h"
#include "steelyard/placement/placement_file.h"
#include "trace/loads.h"
#include "trace/npy.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

// Memory grows with both: a rank is a thread with buffers for what every other one may send it.
constexpr int kMostRanksOfOneProcess = 64;
constexpr int kMostBatchTokens = 1 << 14;
constexpr std::string_view kLogitsExtension = ".npy";

Status CheckPlain(const Placement& placement, const std::string& path) {
  const Topology& ranks = placement.topology();
  if (!ranks.is_plain()) {
    return Unimplemented(
        fmt::format("{}: {}: a run needs ranks that are all alive, with equal slots and speed",
                    path, ranks.ToString()));
  }
  return Status::Ok();
}

// An even split is the only one that dispatch realises yet.
Status CheckEven(const Placement& placement, const std::string& path) {
  for (int layer = 0; placement.has_shares() && layer < placement.num_layers(); ++layer) {
    const std::vector<std::vector<int32_t>> slots = LogicalToPhysical(placement, layer);
    for (const std::vector<int32_t>& copies : slots) {
      for (const int32_t slot : copies) {
        if (std::abs(placement.shares(layer)[slot] * static_cast<double>(copies.size()) - 1.0) >
            1e-6) {
          return Unimplemented(fmt::format(
              "{}: shares[{}][{}]: uneven shares are not supported yet", path, layer, slot));
        }
      }
    }
  }
  return Status::Ok();
}

// What may be read of a model, there or not.
std::vector<FileOption> FilesOfModel(const fs::path& folder) {
  std::vector<FileOption> files;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", "model.safetensors.index.json"}) {
    files.push_back({"--model", (folder / name).string()});
  }
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".safetensors") files.push_back({"--model", at->path().string()});
  }
  return files;
}

Status WriteAnswers(const std::string& path, const ServeReport& report, bool to_standard_output) {
  std::string lines;
  for (const RequestResult& result : report.results) {
    lines += ResultLine(result);
  }
  if (!path.empty()) {
    return WriteFileAtomically(path, lines);
  }
  if (to_standard_output) {
    fmt::print("{}", lines);
  }
  return Status::Ok();
}

Status WriteLogits(const std::string& folder,
                   const std::map<std::string, std::vector<float>>& logits) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return NotFound(fmt::format("--logits-dir {}: {}", folder, error.message()));
  }
  for (const auto& [id, values] : logits) {
    const size_t shape[] = {values.size()};
    STEELYARD_RETURN_IF_ERROR(WriteNpyFile(fs::path(folder) / (id + std::string(kLogitsExtension)),
                                           shape, std::span<const float>(values)));
  }
  return Status::Ok();
}

}  // namespace

Status RunCommand::CheckOptions() const {
  STEELYARD_RETURN_IF_ERROR(policy.Check());
  if (transport != "inproc") {
    return Unimplemented(
        fmt::format("--transport {} is not supported yet: ranks are threads (inproc)", transport));
  }
  if (!record.empty() && !HasTraceExtension(record)) {
    throw UsageError{fmt::format("{} {}: traces end in .h5, .npy or .npz", record_option, record)};
  }
  if (!placement.empty() && balance == "off") {
    throw UsageError{
        "--placement goes with --balance static, sync or async; off serves the contiguous "
        "placement"};
  }
  if (topology.ranks > kMostRanksOfOneProcess) {
    throw UsageError{fmt::format("--ranks {}: one process serves at most {}", topology.ranks,
                                 kMostRanksOfOneProcess)};
  }
  if (window % bins_per_window != 0) {
    throw UsageError{fmt::format("--window {}: is not a multiple of --bins-per-window {}", window,
                                 bins_per_window)};
  }
  return Status::Ok();
}

// Finds out before the work, not after it, that an output cannot be written.
Status RunCommand::CheckOutputs(const std::string& config) const {
  std::vector<FileOption> inputs = FilesOfModel(model);
  inputs.push_back({"--requests", requests});
  inputs.push_back({"--placement", placement});
  inputs.push_back({"--config", config});
  STEELYARD_RETURN_IF_ERROR(steelyard::CheckOutputs(
      inputs, {{"--out", out}, {record_option, record}, {"--save-placement", save_placement}}));
  return logits_dir.empty() ? Status::Ok() : CheckOutputFolder({"--logits-dir", logits_dir});
}

RequestLimits RunCommand::LimitsOfRequests(const ModelFiles& files) const {
  RequestLimits limits = files.limits();
  if (!logits_dir.empty()) {
    limits.max_id_bytes = NAME_MAX - kLogitsExtension.size();
  }
  return limits;
}

Result<Placement> RunCommand::FirstPlacement(const ModelFiles& files) const {
  const int num_experts = files.config.num_experts;
  if (placement.empty()) {
    STEELYARD_ASSIGN_OR_RETURN(const Topology made, topology.Resolve(num_experts, nullptr));
    return Placement::Contiguous(made, files.num_moe_layers(), num_experts);
  }
  STEELYARD_ASSIGN_OR_RETURN(const Placement read,
                             ReadPlacementFile(placement, DuplicateRule::kRefuse));
  STEELYARD_RETURN_IF_ERROR(CheckPlain(read, placement));
  STEELYARD_RETURN_IF_ERROR(CheckEven(read, placement));
  if (read.num_layers() != files.num_moe_layers() || read.num_experts() != num_experts) {
    return InvalidArgument(fmt::format(
        "{}: {} layers of {} experts, but {} has {} MoE layers of {} experts", placement,
        read.num_layers(), read.num_experts(), model, files.num_moe_layers(), num_experts));
  }
  Result<Topology> made = topology.Resolve(num_experts, &read.topology());
  if (!made.ok()) {
    return made.status().WithContext(placement);
  }
  if (made->num_ranks() != read.topology().num_ranks() ||
      made->slots_per_rank() != read.topology().slots_per_rank()) {
    return InvalidArgument(fmt::format("{}: --ranks {} with --slots {} is not the placement's {}",
                                       placement, made->num_ranks(), made->slots_per_rank(),
                                       read.topology().ToString()));
  }
  const std::span<const int32_t> slots = read.slot_to_expert();
  return Placement::Create(*made, num_experts, {slots.begin(), slots.end()},
                           DuplicateRule::kRefuse);
}

Result<ServeOptions> RunCommand::MakeOptions(const ModelFiles& files) const {
  ServeOptions options;
  STEELYARD_ASSIGN_OR_RETURN(options.balancer.mode, ParseBalanceMode(balance));
  options.balancer.window_steps = window;
  options.balancer.bins_per_window = bins_per_window;
  options.balancer.plan = policy.plan;
  STEELYARD_RETURN_IF_ERROR(options.balancer.Validate());
  policy.CheckGroups(static_cast<int>(files.config.num_experts));
  STEELYARD_ASSIGN_OR_RETURN(Placement first, FirstPlacement(files));
  options.num_ranks = first.topology().num_ranks();
  if (options.num_ranks > kMostRanksOfOneProcess) {
    return InvalidArgument(fmt::format("{}: {} ranks, but one process serves at most {}", placement,
                                       options.num_ranks, kMostRanksOfOneProcess));
  }
  options.slots_per_rank = first.topology().slots_per_rank();
  if (options.balancer.mode != BalanceMode::kOff) {
    options.placement = std::move(first);
  }
  options.policy = policy.policy;
  options.max_batch_tokens = max_batch_tokens;
  options.compute = compute == "f32" ? ComputeType::kF32 : ComputeType::kBf16;
  return options;
}

// Begins before the run does, so that a file that cannot be written is found out then.
Result<std::unique_ptr<TraceRecorder>> RunCommand::StartRecorder(
    const ModelFiles& files, const ServeOptions& options) const {
  LoadShape shape;
  shape.num_phases = kNumPhases;
  shape.num_layers = files.num_moe_layers();
  shape.num_experts = static_cast<int>(files.config.num_experts);
  TraceOrigin origin;
  origin.phase_names = {std::string(PhaseName(Phase::kPrefill)),
                        std::string(PhaseName(Phase::kDecode))};
  origin.model = model;
  origin.num_ranks = options.num_ranks;
  origin.slots_per_rank = options.slots_per_rank;
  origin.num_nodes = std::max(1, topology.nodes);
  origin.top_k = static_cast<int>(files.config.num_experts_per_tok);
  return TraceRecorder::Start(record, shape, origin);
}

Status RunCommand::Run(const std::string& config) const {
  const CancelFlag& interrupted = CatchInterrupts();
  STEELYARD_RETURN_IF_ERROR(CheckOptions());
  STEELYARD_RETURN_IF_ERROR(CheckOutputs(config));
  STEELYARD_ASSIGN_OR_RETURN(const ModelFiles files, ModelFiles::Open(model));
  STEELYARD_ASSIGN_OR_RETURN(ServeOptions options, MakeOptions(files));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<Request> work,
                             ReadRequests(requests, files.tokenizer, LimitsOfRequests(files)));

  options.cancel = &interrupted;
  ProgressBar bar(balance);
  options.on_progress = [&bar](const ServeProgress& progress) { bar.Show(progress); };
  // Kept until the run has succeeded, so that one that does not leaves no files.
  std::map<std::string, std::vector<float>> logits;
  if (!logits_dir.empty()) {
    options.on_logits = [&logits](const Request& request, std::span<const float> values) {
      logits[request.id].assign(values.begin(), values.end());
      return Status::Ok();
    };
  }
  std::unique_ptr<TraceRecorder> recorder;
  if (!record.empty()) {
    STEELYARD_ASSIGN_OR_RETURN(recorder, StartRecorder(files, options));
    options.on_loads = [&](const LoadWindow& loads) {
      recorder->Add(loads, static_cast<uint64_t>(window / bins_per_window));
    };
  }

  STEELYARD_ASSIGN_OR_RETURN(ServeReport report, Serve(files, work, options));
  // What went wrong with the trace did not stop the run; it is told when all else is put away.
  Status recorded = recorder != nullptr ? recorder->Finish() : Status::Ok();
  if (!logits_dir.empty()) {
    STEELYARD_RETURN_IF_ERROR(WriteLogits(logits_dir, logits));
  }
  if (!save_placement.empty()) {
    STEELYARD_RETURN_IF_ERROR(WritePlacementFile(save_placement, *report.placement));
  }
  // Last, so that there are answers only where everything else went well.
  STEELYARD_RETURN_IF_ERROR(WriteAnswers(out, report, answers && !json));
  const RunSummary summary{model, options.num_ranks, balance, static_cast<int64_t>(work.size()),
                           std::move(report)};
  if (json) {
    fmt::print("{}\n", summary.ToJson().dump());
  } else {
    fmt::print(stderr, "{}", summary.ToText());
  }
  return recorded;
}

void RunCommand::AddServingTo(CLI::App* command) {
  AddPathOption(command, "--model", model,
                "A Hugging Face folder: config.json, tokenizer.json, *.safetensors");
  AddPathOption(
      command, "--requests", requests,
      "JSONL: {\"id\", \"prompt\" or \"input_ids\", \"max_new_tokens\", \"ignore_eos\"?}");
  topology.AddPlainTo(command);
  command
      ->add_option("--window", window, "Steps between two plans, and over which imbalance is taken")
      ->check(WholeNumber(1, 1 << 30))
      ->capture_default_str();
  command
      ->add_option("--bins-per-window", bins_per_window,
                   "Parts of a window that loads are counted in")
      ->check(WholeNumber(1, 1024))
      ->capture_default_str();
  command->add_option("--compute", compute, "Type of the matrix products: bf16 or f32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  command->add_option("--transport", transport, "inproc: ranks are threads")
      ->check(CLI::IsMember({"inproc", "mpi"}))
      ->capture_default_str();
  command->add_option("--max-batch-tokens", max_batch_tokens, "Tokens of a step, per rank")
      ->check(WholeNumber(1, kMostBatchTokens))
      ->capture_default_str();
  AddJsonOption(command, &json);
}

void AddRunCommand(CLI::App& app) {
  const auto options = std::make_shared<RunCommand>();
  CLI::App* command = AddCommand(
      app, "run", "Serve requests through a model on several ranks, balanced while it serves",
      [options](const std::string& config) { return options->Run(config); });
  options->AddServingTo(command);
  command->get_option("--model")->required();
  command->get_option("--requests")->required();
  command->add_option("--balance", options->balance, "off, static, sync (stops the world) or async")
      ->check(CLI::IsMember({"off", "static", "sync", "async"}))
      ->capture_default_str();
  AddPathOption(command, "--placement", options->placement,
                "The placement at the start; contiguous without it");
  AddPathOption(command, "--record", options->record,
                "Write the loads here, a row a bin: .h5 while serving, .npy or .npz at the end");
  AddPathOption(command, "--out", options->out,
                "Write answers here, JSONL; without it they go to standard output, unless --json");
  AddPathOption(command, "--logits-dir", options->logits_dir,
                "Write ID.npy here: float32 logits after the last prompt token");
  AddPathOption(command, "--save-placement", options->save_placement,
                "Write the placement in force at the end here");
  options->policy.AddTo(command);
  options->policy.AddLimitsTo(command);
  options->policy.model_has_bytes = true;
  AddExamples(
      command,
      {"steelyard run --model models/qwen3_moe_tiny --requests models/demo_requests.jsonl "
       "--ranks 4 --out answers.jsonl",
       "steelyard run --model models/qwen3_moe_tiny --requests requests.jsonl --ranks 4 --balance "
       "off --record served.h5",
       "steelyard run --model models/qwen3_moe_tiny --requests requests.jsonl --balance static "
       "--placement placement.json --json"});
}

}  // namespace steelyard
