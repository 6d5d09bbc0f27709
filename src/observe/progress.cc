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

void ProgressBar::Show(const ServeProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const bool finished = progress.done_tokens >= progress.total_tokens;
  const bool due = now - last_ >= (on_terminal_ ? std::chrono::nanoseconds(kRedrawOnTerminal)
                                                : std::chrono::nanoseconds(kRedrawElsewhere));
  if (!due && !(finished && on_terminal_)) {
    return;
  }
  last_ = now;
  shown_ = true;
  const std::string line =
      Line(label_, progress, std::chrono::duration<double>(now - begin_).count());
  fmt::print(stderr, "{}{}{}", on_terminal_ ? "\r" : "", line, on_terminal_ ? "" : "\n");
  std::fflush(stderr);
}

std::string ProgressBar::Line(const std::string& label, const ServeProgress& progress,
                              double seconds) {
  const double fraction = progress.total_tokens > 0
                              ? std::min(1.0, static_cast<double>(progress.done_tokens) /
                                                  static_cast<double>(progress.total_tokens))
                              : 1.0;
  const int filled = static_cast<int>(fraction * kBarWidth);
  return fmt::format("{:<8} [{}{}] {:3.0f} %  step {}  imbalance {:.2f}  {:.0f} tokens/s", label,
                     std::string(filled, '#'), std::string(kBarWidth - filled, '.'), fraction * 100,
                     progress.steps, progress.imbalance,
                     seconds > 0 ? static_cast<double>(progress.done_tokens) / seconds : 0.0);
}

}  // namespace steelyard
