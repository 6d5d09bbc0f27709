// One rank of a run: its model, balancer and scheduler, and the loop of steps.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/models/model.h"
#include "engine/serve/scheduler.h"
#include "engine/serve/serve.h"

namespace steelyard {

/// What the ranks of a run share. Set up before they start; only the last group changes, each
/// member as it says.
struct ServeRun {
  const ModelFiles* files = nullptr;
  const Model* model = nullptr;
  const ServeOptions* options = nullptr;
  const Placement* placement = nullptr;
  std::span<const Request> requests;
  int64_t total_tokens = 0;
  int num_moe_layers = 0;

  std::atomic<int64_t> done_tokens{0};
  std::mutex logits_mutex;  // held in on_logits
  std::mutex failure_mutex;
  Status first_failure;                // of the rank that failed first; guarded by failure_mutex
  std::vector<RequestResult> results;  // [requests]; each written by its rank alone
};

/// What a rank has to tell when it is done.
struct RankOutcome {
  std::vector<double> step_ms;
  double seconds = 0;
  BalancerMetrics balance;
  std::optional<Placement> placement;
};

/// Loads the rank, takes part in all steps and leaves results in `run`. A failure stands in
/// run.first_failure and breaks the group, so that the other ranks end with that reason; the result
/// is then nothing.
std::optional<RankOutcome> RunRank(ServeRun& run, std::unique_ptr<Communicator> comm);

}  // namespace steelyard
