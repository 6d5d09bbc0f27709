#include "engine/serve/scheduler.h"

#include <algorithm>
#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {

Scheduler::Scheduler(std::vector<const Request*> requests, std::span<const int64_t> stop_tokens,
                     const SchedulerLimits& limits)
    : requests_(std::move(requests)),
      stop_tokens_(stop_tokens),
      limits_(limits),
      outcomes_(requests_.size()) {
  for (size_t i = 0; i < requests_.size(); ++i) {
    STEELYARD_CHECK_LE(NumKvBlocks(NumPositions(*requests_[i])), limits.num_kv_blocks);
    outcomes_[i].tokens.reserve(requests_[i]->max_new_tokens);
  }
  for (int block = limits.num_kv_blocks - 1; block >= 0; --block) free_blocks_.push_back(block);
  plan_.tokens.reserve(limits.max_batch_tokens);
  plan_.runs.reserve(limits.max_sequences);
  plan_.requests.reserve(limits.max_sequences);
  planned_.reserve(limits.max_sequences);
}

const StepPlan& Scheduler::Plan() {
  RetireEnded();
  plan_.tokens.clear();
  plan_.runs.clear();
  plan_.requests.clear();
  planned_.clear();
  // A sequence starts to generate in the step after its last prompt token, which took a token of
  // the budget; so there are never more that generate than the budget has tokens.
  for (Sequence& sequence : active_) {
    if (PromptTokensLeft(sequence) == 0) AddRun(sequence, 1);
  }
  const auto budget = [&] {
    return limits_.max_batch_tokens - static_cast<int>(plan_.tokens.size());
  };
  for (Sequence& sequence : active_) {
    const int left = PromptTokensLeft(sequence);
    if (left > 0 && budget() > 0) AddRun(sequence, std::min(left, budget()));
  }
  while (budget() > 0 && Admit()) {
    AddRun(active_.back(), std::min(PromptTokensLeft(active_.back()), budget()));
  }
  plan_.more_work = next_request_ < requests_.size();
  for (const Sequence& sequence : active_) {
    // Prompt tokens that are left, or more than the one token that this step brings.
    const int request_idx = sequence.request_idx;
    const bool may_go_on = PromptTokensLeft(sequence) > 0 ||
                           static_cast<int64_t>(outcomes_[request_idx].tokens.size()) + 1 <
                               requests_[request_idx]->max_new_tokens;
    plan_.more_work = plan_.more_work || may_go_on;
  }
  return plan_;
}

void Scheduler::RetireEnded() {
  for (Sequence& sequence : active_) {
    if (!sequence.ended) continue;
    free_blocks_.insert(free_blocks_.end(), sequence.blocks.rbegin(), sequence.blocks.rend());
  }
  std::erase_if(active_, [](const Sequence& sequence) { return sequence.ended; });
}

int Scheduler::PromptTokensLeft(const Sequence& sequence) const {
  const int prompt = static_cast<int>(requests_[sequence.request_idx]->input_ids.size());
  return std::max(0, prompt - sequence.num_cached);
}

void Scheduler::AddRun(Sequence& sequence, int num_tokens) {
  const Request& request = *requests_[sequence.request_idx];
  SequenceRun run;
  run.blocks = sequence.blocks;
  run.first_row = static_cast<int>(plan_.tokens.size());
  run.num_rows = num_tokens;
  run.first_position = sequence.num_cached;
  const int prompt_left = PromptTokensLeft(sequence);
  if (prompt_left > 0) {
    const auto first = request.input_ids.begin() + sequence.num_cached;
    plan_.tokens.insert(plan_.tokens.end(), first, first + num_tokens);
    run.phase = Phase::kPrefill;
    run.wants_logits = prompt_left == num_tokens;
  } else {
    plan_.tokens.push_back(outcomes_[sequence.request_idx].tokens.back());
    run.phase = Phase::kDecode;
    run.wants_logits = true;
  }
  sequence.num_cached += num_tokens;
  plan_.runs.push_back(run);
  plan_.requests.push_back(sequence.request_idx);
  planned_.push_back(&sequence);
}

bool Scheduler::Admit() {
  if (next_request_ == requests_.size() ||
      active_.size() == static_cast<size_t>(limits_.max_sequences)) {
    return false;
  }
  const size_t num_blocks = NumKvBlocks(NumPositions(*requests_[next_request_]));
  if (num_blocks > free_blocks_.size()) return false;
  Sequence sequence;
  sequence.request_idx = static_cast<int>(next_request_++);
  sequence.blocks.assign(free_blocks_.rbegin(), free_blocks_.rbegin() + num_blocks);
  free_blocks_.resize(free_blocks_.size() - num_blocks);
  active_.push_back(std::move(sequence));
  return true;
}

bool Scheduler::Accept(int run_idx, int32_t token) {
  STEELYARD_CHECK(plan_.runs[run_idx].wants_logits);
  Sequence& sequence = *planned_[run_idx];
  const Request& request = *requests_[sequence.request_idx];
  Outcome& outcome = outcomes_[sequence.request_idx];
  outcome.tokens.push_back(token);
  const bool stops = !request.ignore_eos && std::find(stop_tokens_.begin(), stop_tokens_.end(),
                                                      token) != stop_tokens_.end();
  if (stops) outcome.reason = FinishReason::kStop;
  sequence.ended = stops || static_cast<int64_t>(outcome.tokens.size()) == request.max_new_tokens;
  return sequence.ended;
}

}  // namespace steelyard
