// Logging to standard error: one line a message, with time and level. Safe from any thread.
//
// The library logs reasons that nobody is waiting to be told as a Status (an abandoned cycle, say);
// it never prints otherwise.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace steelyard {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

/// Messages below `level` are dropped. The default is kWarning.
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);
void LogMessage(LogLevel level, std::string_view message);

template <typename... Args>
void Log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (LogEnabled(level)) {
    LogMessage(level, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace steelyard
