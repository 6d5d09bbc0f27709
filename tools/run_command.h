// Serving requests on several ranks, as `run` and `record` do it.
#pragma once

#include <memory>
#include <string>

#include "command.h"
#include "engine/serve/serve.h"
#include "trace/trace_recorder.h"

namespace steelyard {

/// Options of `run`, and what it does with them. Paths that are empty are not written.
struct RunCommand {
  std::string model;
  std::string requests;
  std::string balance = "async";
  std::string placement;
  std::string record;
  std::string record_option = "--record";  // as messages call it
  std::string compute = "bf16";
  std::string transport = "inproc";
  std::string out;
  std::string logits_dir;
  std::string save_placement;
  int window = BalancerOptions().window_steps;
  int bins_per_window = BalancerOptions().bins_per_window;
  int max_batch_tokens = ServeOptions().max_batch_tokens;
  bool answers = true;  // on standard output, where --out and --json are not given
  bool json = false;
  TopologyOptions topology;
  PolicyOptions policy;

  /// --model, --requests, and how to compute.
  void AddServingTo(CLI::App* command);
  Status Run(const std::string& config) const;

 private:
  Status CheckOptions() const;
  Status CheckOutputs(const std::string& config) const;
  RequestLimits LimitsOfRequests(const ModelFiles& files) const;
  Result<ServeOptions> MakeOptions(const ModelFiles& files) const;
  Result<Placement> FirstPlacement(const ModelFiles& files) const;
  Result<std::unique_ptr<TraceRecorder>> StartRecorder(const ModelFiles& files,
                                                       const ServeOptions& options) const;
};

}  // namespace steelyard
