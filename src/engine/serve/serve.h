// Serves requests through a model on several ranks, each a thread of this process, while a balancer
// moves experts between them.
//
// Answers are a function of model, requests and compute type alone: not of ranks, balancing or
// batch size (I6).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/compute/gemm.h"
#include "engine/requests/requests.h"
#include "engine/serve/model_files.h"
#include "engine/serve/scheduler.h"
#include "steelyard/balance/balancer.h"
#include "steelyard/base/clock.h"
#include "steelyard/base/executor.h"
#include "steelyard/base/status.h"
#include "steelyard/comm/communicator.h"
#include "steelyard/load/load_window.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

struct ServeProgress {
  int64_t done_tokens = 0;  // prompt and new; what a request ends short of counts as done
  int64_t total_tokens = 0;
  int64_t steps = 0;
  double imbalance = 1.0;  // of the last complete window
};

struct ServeOptions {
  // Changes answers.
  ComputeType compute = ComputeType::kBf16;

  // Changes who computes what.
  int num_ranks = 1;
  int slots_per_rank = 0;              // 0: the placement's, else DefaultSlotsPerRank()
  std::optional<Placement> placement;  // at the start; contiguous without it
  BalancerOptions balancer;
  std::string policy = "steelyard";  // modes kSync and kAsync
  int max_batch_tokens = 512;        // of a step, per rank
  int max_sequences = 64;            // at the same time, per rank
  int64_t kv_cache_tokens = 8192;    // per rank; more where one request needs it

  Duration exchange_timeout = std::chrono::seconds(60);  // then a peer is lost
  Duration load_timeout = std::chrono::minutes(30);      // for all ranks to have loaded

  // Watching. All may be empty or null.
  bool count_prefill_routing = false;
  const CancelFlag* cancel = nullptr;  // polled by every rank in every step
  std::function<void(const ServeProgress&)>
      on_progress;                                  // every step and at the end, on rank 0's thread
  std::function<void(const LoadWindow&)> on_loads;  // BalancerHost::on_loads of rank 0
  std::function<Status(const Request&, std::span<const float> logits)>
      on_logits;  // after the last prompt token; on ranks' threads, one call at a time
  std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator>)>
      wrap_communicator;  // puts faults into a rank's end of the group
};

struct RequestResult {
  std::string id;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> new_tokens;
  FinishReason finish_reason = FinishReason::kLength;
  std::string text;                       // of the new tokens, without special ones
  std::vector<uint32_t> prefill_routing;  // [moe layers, experts] where asked for
};

struct StepTimes {
  double p50_ms = 0;
  double p99_ms = 0;
  double max_ms = 0;
};

struct ServeReport {
  std::vector<RequestResult> results;  // in the order of the requests
  int64_t prompt_tokens = 0;
  int64_t new_tokens = 0;
  int slots_per_rank = 0;
  double seconds = 0;  // from the first step to the end of the last, on rank 0
  int64_t steps = 0;
  StepTimes step_times;     // of rank 0
  BalancerMetrics balance;  // of rank 0, but stalls are those of the rank that stalled most
  std::optional<Placement> placement;  // in force at the end

  double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(prompt_tokens + new_tokens) / seconds : 0;
  }
};

std::string_view FinishReasonName(FinishReason reason);

/// min(experts, ceil(experts / ranks) + 1).
int DefaultSlotsPerRank(int num_experts, int num_ranks);

/// Serves all `requests` (those of ReadRequests() with the model's limits), round-robin over ranks.
/// Fails naming the offender: options or placement that do not fit the model, weights that are not
/// what config.json says, a lost peer, kCancelled. A rank that fails ends them all, and its status
/// is what is returned. Collective calls of all ranks happen inside; the caller needs no thread.
Result<ServeReport> Serve(const ModelFiles& model, std::span<const Request> requests,
                          const ServeOptions& options);

}  // namespace steelyard
