#include "observe/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

namespace steelyard {
namespace {

TEST(ProgressBar, SaysHowMuchIsDoneAndWhatIsAtHand) {
  EXPECT_EQ(ProgressBar::Line("replay", 3, 12, "swift, window 3"),
            "replay   [#######.......................]  25 %  swift, window 3");
  EXPECT_EQ(ProgressBar::Line("plan", 12, 12, ""),
            "plan     [##############################] 100 %  ");
  EXPECT_EQ(ProgressBar::Line("plan", 0, 0, ""),
            "plan     [##############################] 100 %  ");
  ServeProgress progress;
  progress.done_tokens = 50;
  progress.total_tokens = 200;
  progress.steps = 7;
  progress.imbalance = 1.5;
  EXPECT_EQ(
      ProgressBar::Line("async", progress, 0.5),
      "async    [#######.......................]  25 %  step 7  imbalance 1.50  100 tokens/s");
}

TEST(ProgressBar, MakesNoTextThatIsNotDrawn) {
  ProgressBar bar("plan");
  int num_made = 0;
  for (int done = 0; done < 3; ++done) {  // ends long before the bar is due
    bar.Show(done, 4, [&num_made] {
      ++num_made;
      return "detail";
    });
  }
  EXPECT_EQ(num_made, 0);
}

// Every task runs once, and every count is told once, in order.
TEST(ProgressExecutor, TellsEveryTaskOfEveryRun) {
  static constexpr int kNumTasks = 100;
  const std::unique_ptr<Executor> threads = Executor::Threads(4);
  std::vector<int> told;
  ProgressExecutor executor(*threads, [&told](int num_done, int num_tasks) {
    EXPECT_EQ(num_tasks, kNumTasks);
    told.push_back(num_done);
  });
  EXPECT_EQ(executor.num_workers(), threads->num_workers());
  std::vector<int> expected(kNumTasks);
  std::iota(expected.begin(), expected.end(), 1);
  for (int run = 0; run < 3; ++run) {
    told.clear();
    std::vector<int> ran(kNumTasks, 0);
    executor.Run(kNumTasks, [&ran](int task_idx, int) { ++ran[task_idx]; });
    EXPECT_EQ(ran, std::vector<int>(kNumTasks, 1));
    EXPECT_EQ(told, expected);
  }
}

}  // namespace
}  // namespace steelyard
