// A progress bar on standard error: redrawn in place on a terminal, a line every few seconds
// elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "engine/serve/serve.h"

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

  /// The bar's text for a state, without the control characters around it.
  static std::string Line(const std::string& label, const ServeProgress& progress, double seconds);

 private:
  std::string label_;
  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace steelyard
