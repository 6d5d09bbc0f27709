// How planning is timed where other programs use the cores too: by the CPU time that it takes.
#pragma once

#include <time.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "steelyard/base/executor.h"

namespace steelyard {

/// CPU time of all threads of this program.
inline double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Threads, and what time their work would take if each had a core to itself.
class TimedExecutor : public Executor {
 public:
  explicit TimedExecutor(int num_threads)
      : num_threads_(num_threads), threads_(Executor::Threads(num_threads)) {}

  int num_workers() const override { return num_threads_; }
  void Run(int num_tasks, const std::function<void(int, int)>& body) override {
    const double start = CpuSeconds();
    threads_->Run(num_tasks, body);
    parallel_ += CpuSeconds() - start;
  }

  /// CPU time of `work`, of which what Run() did counts as shared out evenly.
  template <typename Work>
  double Seconds(const Work& work) {
    parallel_ = 0.0;
    const double start = CpuSeconds();
    work();
    const double all = CpuSeconds() - start;
    return all - parallel_ + parallel_ / num_threads_;
  }

 private:
  int num_threads_;
  std::unique_ptr<Executor> threads_;
  double parallel_ = 0.0;  // CPU seconds within Run()
};

/// Requires: there is a value.
inline double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace steelyard
