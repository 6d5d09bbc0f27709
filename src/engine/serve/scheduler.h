// Which tokens a rank computes in the next step: continuous batching under a token budget.
//
// Every step first takes one token of each sequence that is generating, then fills the budget with
// prompt tokens, cutting prompts into chunks where needed, then admits waiting requests in order.
// A request is admitted when the cache has blocks for all it may need, so nothing is ever thrown
// out. Pure bookkeeping: the same calls give the same batches. Used by the rank's own thread.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "engine/models/model.h"
#include "engine/requests/requests.h"

namespace steelyard {

enum class FinishReason : uint8_t { kLength, kStop };

struct SchedulerLimits {
  int max_batch_tokens = 512;  // of one step
  int max_sequences = 64;      // at the same time
  int num_kv_blocks = 0;       // at least what the longest request needs
};

/// Positions whose keys and values a request needs at most: its last token is never fed back.
inline int64_t NumPositions(const Request& request) {
  return static_cast<int64_t>(request.input_ids.size()) + request.max_new_tokens - 1;
}

struct StepPlan {
  std::vector<int32_t> tokens;
  std::vector<SequenceRun> runs;
  std::vector<int> requests;  // of each run: index into the scheduler's requests
  bool more_work = false;     // there may be tokens for a step after this one
};

class Scheduler {
 public:
  /// `requests` and `stop_tokens` must outlive it. Requires: every request fits the limits.
  Scheduler(std::vector<const Request*> requests, std::span<const int64_t> stop_tokens,
            const SchedulerLimits& limits);

  /// The next step; no tokens when there is nothing to do. Valid until the next call. Requires:
  /// every run of the last plan that wanted logits got its token.
  const StepPlan& Plan();

  /// Gives the token that follows run `run_idx` of the plan, one that wants logits. Returns true
  /// when the request has ended with it.
  bool Accept(int run_idx, int32_t token);

  const std::vector<int32_t>& new_tokens(int request_idx) const {
    return outcomes_[request_idx].tokens;
  }
  FinishReason finish_reason(int request_idx) const { return outcomes_[request_idx].reason; }
  int num_free_blocks() const { return static_cast<int>(free_blocks_.size()); }

 private:
  struct Sequence {
    int request_idx = 0;
    int num_cached = 0;  // positions in the cache
    bool ended = false;
    std::vector<int32_t> blocks;
  };
  struct Outcome {
    std::vector<int32_t> tokens;
    FinishReason reason = FinishReason::kLength;
  };

  void RetireEnded();
  void AddRun(Sequence& sequence, int num_tokens);
  int PromptTokensLeft(const Sequence& sequence) const;
  bool Admit();

  const std::vector<const Request*> requests_;
  const std::span<const int64_t> stop_tokens_;
  const SchedulerLimits limits_;
  std::vector<Outcome> outcomes_;  // [requests]
  size_t next_request_ = 0;        // the first that waits
  std::deque<Sequence> active_;    // in the order of admission
  std::vector<int32_t> free_blocks_;
  std::vector<Sequence*> planned_;  // of each run
  StepPlan plan_;
};

}  // namespace steelyard
