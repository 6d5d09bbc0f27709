#include "observe/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace steelyard {
namespace {

constexpr int kBarWidth = 30;
constexpr auto kRedrawOnTerminal = std::chrono::milliseconds(100);
constexpr auto kRedrawElsewhere = std::chrono::seconds(5);

}  // namespace

ProgressBar::ProgressBar(std::string label)
    : label_(std::move(label)),
      on_terminal_(isatty(STDERR_FILENO) == 1),
      begin_(std::chrono::steady_clock::now()),
      last_(begin_) {}

ProgressBar::~ProgressBar() {
  if (shown_ && on_terminal_) {
    std::fputc('\n', stderr);
  }
}

bool ProgressBar::Due(bool finished) {
  const auto now = std::chrono::steady_clock::now();
  const bool due = now - last_ >= (on_terminal_ ? std::chrono::nanoseconds(kRedrawOnTerminal)
                                                : std::chrono::nanoseconds(kRedrawElsewhere));
  if (!due && !(finished && shown_ && on_terminal_)) {
    return false;
  }
  last_ = now;
  return true;
}

void ProgressBar::Draw(const std::string& line) {
  shown_ = true;
  // A line that is shorter than the one before leaves nothing of it.
  fmt::print(stderr, "{}{}{}", on_terminal_ ? "\r" : "", line, on_terminal_ ? "\x1b[K" : "\n");
  std::fflush(stderr);
}

void ProgressBar::Show(const ServeProgress& progress) {
  if (Due(progress.done_tokens >= progress.total_tokens)) {
    Draw(Line(label_, progress, Seconds()));
  }
}

void ProgressExecutor::Run(int num_tasks,
                           const std::function<void(int task_idx, int worker_idx)>& body) {
  int num_done = 0;
  executor_.Run(num_tasks, [&](int task_idx, int worker_idx) {
    body(task_idx, worker_idx);
    const std::lock_guard<std::mutex> lock(mutex_);
    show_(++num_done, num_tasks);
  });
}

std::string ProgressBar::Line(const std::string& label, const ServeProgress& progress,
                              double seconds) {
  return Line(
      label, progress.done_tokens, progress.total_tokens,
      fmt::format("step {}  imbalance {:.2f}  {:.0f} tokens/s", progress.steps, progress.imbalance,
                  seconds > 0 ? static_cast<double>(progress.done_tokens) / seconds : 0.0));
}

std::string ProgressBar::Line(const std::string& label, int64_t done, int64_t total,
                              std::string_view detail) {
  const double fraction =
      total > 0 ? std::min(1.0, static_cast<double>(done) / static_cast<double>(total)) : 1.0;
  const int filled = static_cast<int>(fraction * kBarWidth);
  return fmt::format("{:<8} [{}{}] {:3.0f} %  {}", label, std::string(filled, '#'),
                     std::string(kBarWidth - filled, '.'), fraction * 100, detail);
}

}  // namespace steelyard
