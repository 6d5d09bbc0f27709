// steelyard record: serves requests with balancing off and writes the loads, nothing else.
#include <fmt/format.h>

#include <memory>

#include "run_command.h"

namespace steelyard {
namespace {

Status Record(const RunCommand& run) {
  STEELYARD_RETURN_IF_ERROR(run.Run());
  if (!run.json) {
    fmt::print(stderr, "loads written to {}\n", run.record);
  }
  return Status::Ok();
}

}  // namespace

void AddRecordCommand(CLI::App& app) {
  const auto run = std::make_shared<RunCommand>();
  run->balance = "off";
  run->answers = false;
  run->record_option = "--out";
  CLI::App* command =
      AddCommand(app, "record", "Serve requests through a model and write the loads of its experts",
                 [run] { return Record(*run); });
  run->AddServingTo(command);
  command
      ->add_option("--out", run->record,
                   "The trace, a row a bin: .h5 while serving, .npy or .npz at the end")
      ->required();
}

}  // namespace steelyard
