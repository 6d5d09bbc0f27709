#include "steelyard/base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include "base/test_no_threads.h"
#include "base/test_scale.h"

namespace steelyard {
namespace {

TEST(InlineExecutor, RunsTasksInOrderOnTheCallingThread) {
  std::vector<int> seen;
  const std::thread::id caller = std::this_thread::get_id();
  Executor::Inline().Run(5, [&](int task_idx, int worker_idx) {
    EXPECT_EQ(worker_idx, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    seen.push_back(task_idx);
  });
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(InlineExecutor, DoesNothingWhenThereAreNoTasks) {
  Executor::Inline().Run(0, [](int, int) { FAIL() << "there was no task to run"; });
}

TEST(ThreadExecutor, RunsEveryTaskExactlyOnceForAnyNumberOfThreadsAndTasks) {
  for (const int num_threads : {1, 2, 3, 8}) {
    const auto executor = Executor::Threads(num_threads);
    ASSERT_EQ(executor->num_workers(), num_threads);
    for (const int num_tasks : {0, 1, 2, 7, 100}) {
      for (int repeat = 0; repeat < Scaled(20); ++repeat) {
        std::vector<std::atomic<int>> runs(static_cast<size_t>(num_tasks));
        executor->Run(num_tasks, [&](int task_idx, int) { ++runs[static_cast<size_t>(task_idx)]; });
        for (int i = 0; i < num_tasks; ++i) {
          ASSERT_EQ(runs[static_cast<size_t>(i)], 1)
              << "task " << i << " of " << num_tasks << ", " << num_threads << " threads";
        }
      }
    }
  }
}

// Each worker adds to a plain number of its own: a thread sanitizer, or a wrong sum, shows two
// calls that overlap.
TEST(ThreadExecutor, NoTwoCallsShareAWorkerAtTheSameTime) {
  constexpr int kNumWorkers = 4;
  const auto executor = Executor::Threads(kNumWorkers);
  std::vector<std::atomic<bool>> busy(kNumWorkers);
  std::vector<int64_t> sum_of_worker(kNumWorkers, 0);
  const int num_tasks = Scaled(5000);
  executor->Run(num_tasks, [&](int task_idx, int worker_idx) {
    ASSERT_GE(worker_idx, 0);
    ASSERT_LT(worker_idx, kNumWorkers);
    const auto w = static_cast<size_t>(worker_idx);
    EXPECT_FALSE(busy[w].exchange(true)) << "worker " << worker_idx << " runs two tasks at once";
    sum_of_worker[w] += task_idx;
    busy[w].store(false);
  });
  const int64_t sum = std::accumulate(sum_of_worker.begin(), sum_of_worker.end(), int64_t{0});
  EXPECT_EQ(sum, int64_t{num_tasks} * (num_tasks - 1) / 2);
}

TEST(ThreadExecutor, WorkIsVisibleToTheCallerWhenRunReturns) {
  const auto executor = Executor::Threads(3);
  std::vector<int> squares(64, -1);  // not atomic on purpose
  executor->Run(64, [&](int i, int) { squares[static_cast<size_t>(i)] = i * i; });
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(squares[static_cast<size_t>(i)], i * i);
  }
}

// The second task can only end once the first runs beside it; one thread alone would never return.
TEST(ThreadExecutor, TasksReallyRunAtTheSameTime) {
  const auto executor = Executor::Threads(2);
  std::atomic<int> arrived{0};
  executor->Run(2, [&](int, int) {
    ++arrived;
    while (arrived < 2) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadExecutor, SeveralThreadsMayCallRun) {
  const auto executor = Executor::Threads(3);
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < Scaled(50); ++repeat) {
        executor->Run(10, [&](int, int) { ++total; });
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  EXPECT_EQ(total, 3 * 10 * Scaled(50));
}

TEST(ThreadExecutor, WorksWithTheThreadsThatCanBeStarted) {
  const NoThreads none;
  const std::unique_ptr<Executor> executor = Executor::Threads(4);
  EXPECT_EQ(executor->num_workers(), 1);
  int sum = 0;
  executor->Run(10, [&](int task_idx, int) { sum += task_idx; });
  EXPECT_EQ(sum, 45);
}

TEST(ThreadExecutorDeathTest, RefusesToHaveNoThreads) {
  EXPECT_DEATH(Executor::Threads(0), "num_threads >= 1 \\(0 against 1\\)");
}

TEST(CancelFlag, IsSetUntilItIsReset) {
  CancelFlag flag;
  EXPECT_FALSE(flag.cancelled());
  flag.Cancel();
  EXPECT_TRUE(flag.cancelled());
  flag.Reset();
  EXPECT_FALSE(flag.cancelled());
}

}  // namespace
}  // namespace steelyard
