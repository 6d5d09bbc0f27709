// How a pure function asks for parallelism: it is handed an Executor and never starts a thread.
// Also its cancel flag.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

namespace steelyard {

class Executor {
 public:
  virtual ~Executor() = default;

  /// How many tasks can run at the same time; a body sees worker_idx in [0, num_workers()).
  virtual int num_workers() const = 0;

  /// Calls body(task_idx, worker_idx) once for each task_idx in [0, num_tasks), in any order, and
  /// returns when all are done. No two calls with one worker_idx overlap. Results must not depend
  /// on which worker runs what.
  virtual void Run(int num_tasks,
                   const std::function<void(int task_idx, int worker_idx)>& body) = 0;

  /// Runs everything on the calling thread, in order.
  static Executor& Inline();
  /// `num_threads` - 1 threads of its own, or as many as the system starts, and the caller.
  /// Requires: num_threads >= 1.
  static std::unique_ptr<Executor> Threads(int num_threads);
};

/// Set by whoever has lost interest, polled by long work. Safe from any thread.
class CancelFlag {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_release); }
  void Reset() { cancelled_.store(false, std::memory_order_release); }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace steelyard
