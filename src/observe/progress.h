// A progress bar on standard error: redrawn in place on a terminal, a line every few seconds
// elsewhere, nothing for work that ends before. And an executor that tells how far its work is.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "engine/serve/serve.h"
#include "steelyard/base/executor.h"

namespace steelyard {

/// Used from one thread at a time.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  /// Ends the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Show(const ServeProgress& progress);
  /// `done` of `total` parts of any other work, of which the text that `detail()` makes says more.
  /// It is made only when the bar is drawn, so that this may be called while time is measured.
  template <typename Detail>
  void Show(int64_t done, int64_t total, const Detail& detail) {
    if (Due(done >= total)) {
      Draw(Line(label_, done, total, detail()));
    }
  }

  /// The bar's text for a state, without the control characters around it.
  static std::string Line(const std::string& label, const ServeProgress& progress, double seconds);
  static std::string Line(const std::string& label, int64_t done, int64_t total,
                          std::string_view detail);

 private:
  // Whether it is time to draw again. The end of a bar that a terminal shows is always drawn.
  bool Due(bool finished);
  void Draw(const std::string& line);
  double Seconds() const { return std::chrono::duration<double>(last_ - begin_).count(); }

  std::string label_;
  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

/// Runs tasks as another executor does, and tells after each how many of them are done.
class ProgressExecutor final : public Executor {
 public:
  using Show = std::function<void(int num_done, int num_tasks)>;

  /// `executor` must outlive it. `show` is called from any worker, never by two at once.
  ProgressExecutor(Executor& executor, Show show) : executor_(executor), show_(std::move(show)) {}

  int num_workers() const override { return executor_.num_workers(); }
  void Run(int num_tasks, const std::function<void(int task_idx, int worker_idx)>& body) override;

 private:
  Executor& executor_;
  const Show show_;
  std::mutex mutex_;
};

}  // namespace steelyard
