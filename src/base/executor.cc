#include "steelyard/base/executor.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

using Body = std::function<void(int task_idx, int worker_idx)>;

class InlineExecutor : public Executor {
 public:
  int num_workers() const override { return 1; }
  void Run(int num_tasks, const Body& body) override {
    for (int task_idx = 0; task_idx < num_tasks; ++task_idx) {
      body(task_idx, 0);
    }
  }
};

// Workers sleep until there is a job, then claim tasks by a shared counter. A worker that wakes
// after the last task was claimed finds no job, so Run() waits only for the workers that took part.
class ThreadExecutor : public Executor {
 public:
  explicit ThreadExecutor(int num_threads) {
    threads_.reserve(std::max(0, num_threads - 1));
    try {
      for (int worker_idx = 1; worker_idx < num_threads; ++worker_idx) {
        threads_.emplace_back([this, worker_idx] { WorkerLoop(worker_idx); });
      }
    } catch (const std::system_error&) {
      // Those that there are do the work.
    }
  }

  ~ThreadExecutor() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    job_ready_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  int num_workers() const override { return static_cast<int>(threads_.size()) + 1; }

  void Run(int num_tasks, const Body& body) override {
    std::lock_guard<std::mutex> one_job_at_a_time(run_mutex_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      num_tasks_ = num_tasks;
      next_task_.store(0, std::memory_order_relaxed);
      ++job_id_;
    }
    if (num_tasks > 1) {
      job_ready_.notify_all();
    }
    ClaimTasks(body, num_tasks, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    body_ = nullptr;
    job_done_.wait(lock, [this] { return num_busy_ == 0; });
  }

 private:
  void ClaimTasks(const Body& body, int num_tasks, int worker_idx) {
    for (;;) {
      const int task_idx = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task_idx >= num_tasks) {
        return;
      }
      body(task_idx, worker_idx);
    }
  }

  void WorkerLoop(int worker_idx) {
    int64_t last_job_id = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      job_ready_.wait(lock,
                      [&] { return stopping_ || (body_ != nullptr && job_id_ != last_job_id); });
      if (stopping_) {
        return;
      }
      last_job_id = job_id_;
      const Body& body = *body_;
      const int num_tasks = num_tasks_;
      ++num_busy_;
      lock.unlock();
      ClaimTasks(body, num_tasks, worker_idx);
      lock.lock();
      if (--num_busy_ == 0) {
        job_done_.notify_all();
      }
    }
  }

  std::mutex run_mutex_;  // held by the one Run() that is going on
  std::mutex mutex_;      // guards what follows, except next_task_
  std::condition_variable job_ready_;
  std::condition_variable job_done_;
  const Body* body_ = nullptr;  // null between jobs
  int num_tasks_ = 0;
  int64_t job_id_ = 0;
  int num_busy_ = 0;  // workers inside ClaimTasks(), the caller excluded
  bool stopping_ = false;
  std::atomic<int> next_task_{0};
  std::vector<std::thread> threads_;
};

}  // namespace

Executor& Executor::Inline() {
  static InlineExecutor executor;
  return executor;
}

std::unique_ptr<Executor> Executor::Threads(int num_threads) {
  STEELYARD_CHECK_GE(num_threads, 1);
  return std::make_unique<ThreadExecutor>(num_threads);
}

}  // namespace steelyard
