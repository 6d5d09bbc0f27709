// steelyard record: serves requests with balancing off and writes the loads, nothing else; or makes
// loads up.
#include <fmt/format.h>

#include <memory>

#include "base/json.h"
#include "output_files.h"
#include "record_synthetic.h"
#include "run_command.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

struct RecordCommand {
  RunCommand run;
  SyntheticOptions synthetic;

  Status Run(const std::string& config) const;
};

Status RecordCommand::Run(const std::string& config) const {
  if (synthetic.given() != run.model.empty() || synthetic.given() != run.requests.empty()) {
    throw UsageError{"record serves --requests through --model, or makes loads up: --synthetic"};
  }
  STEELYARD_RETURN_IF_ERROR(CheckOutputs({{"--config", config}}, {{"--out", run.record}}));
  if (!HasTraceExtension(run.record)) {
    throw UsageError{fmt::format("--out {}: traces end in .h5, .npy or .npz", run.record)};
  }
  STEELYARD_RETURN_IF_ERROR(synthetic.given() ? synthetic.WriteTo(run.record) : run.Run(config));
  if (!run.json) {
    fmt::print(stderr, "loads written to {}\n", run.record);
  } else if (synthetic.given()) {
    fmt::print("{}\n", OrderedJson{{"trace", run.record}}.dump());
  }
  return Status::Ok();
}

}  // namespace

void AddRecordCommand(CLI::App& app) {
  const auto options = std::make_shared<RecordCommand>();
  RunCommand& run = options->run;
  run.balance = "off";
  run.answers = false;
  run.record_option = "--out";
  CLI::App* command =
      AddCommand(app, "record", "Serve requests through a model and write the loads of its experts",
                 [options](const std::string& config) { return options->Run(config); });
  run.AddServingTo(command);
  const std::vector<CLI::Option*> serving = command->get_options();
  AddPathOption(command, "--out", run.record,
                "The trace, a row a bin: .h5 while serving, .npy or .npz at the end")
      ->required();
  options->synthetic.AddTo(command);
  for (CLI::Option* option : serving) {
    if (option->get_name() != "--help" && option->get_name() != "--json") {
      option->excludes(command->get_option("--synthetic"));
    }
  }
  AddExamples(command,
              {"steelyard record --model models/qwen3_moe_tiny --requests requests.jsonl --ranks 4 "
               "--out trace.h5",
               "steelyard record --synthetic one-way --layers 26 --experts 64 --bins 96 --out "
               "drift.npy"});
}

}  // namespace steelyard
