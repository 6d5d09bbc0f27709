// A progress bar on standard error: redrawn in place on a terminal, a line every few seconds
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

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
  /// `done` of `total` parts of any other work, of which `detail` says more.
  void Show(int64_t done, int64_t total, std::string_view detail);

  /// The bar's text for a state, without the control characters around it.
  static std::string Line(const std::string& label, const ServeProgress& progress, double seconds);
  static std::string Line(const std::string& label, int64_t done, int64_t total,
                          std::string_view detail);

 private:
  // Whether it is time to draw again. The end is always drawn on a terminal.
  bool Due(bool finished);
  void Draw(const std::string& line);
  double Seconds() const { return std::chrono::duration<double>(last_ - begin_).count(); }

  std::string label_;
  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace steelyard
