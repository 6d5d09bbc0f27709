#include "comm/inproc_wait.h"

#include <fmt/format.h>

namespace steelyard::inproc {

void BreakFlag::Set(const Status& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_set_.load(std::memory_order_relaxed)) return;
  reason_ = reason;
  is_set_.store(true, std::memory_order_seq_cst);
}

Status BreakFlag::reason() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return reason_;
}

Status Late(int rank, const std::string& phase, const Deadline& deadline, int missing_rank,
            int num_seen, int num_ranks) {
  const double timeout_ms = std::chrono::duration<double, std::milli>(deadline.timeout()).count();
  return DeadlineExceeded(
      fmt::format("rank {} waited {:g} ms in {} for rank {}: {} of {} ranks came", rank, timeout_ms,
                  phase, missing_rank, num_seen, num_ranks));
}

}  // namespace steelyard::inproc
