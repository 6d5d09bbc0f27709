#include <fmt/format.h>

#include "steelyard/balance/balancer.h"

namespace steelyard {

Result<BalanceMode> ParseBalanceMode(std::string_view name) {
  for (const BalanceMode mode :
       {BalanceMode::kOff, BalanceMode::kStatic, BalanceMode::kSync, BalanceMode::kAsync}) {
    if (name == BalanceModeName(mode)) {
      return mode;
    }
  }
  return InvalidArgument(
      fmt::format("balance mode \"{}\" is none of off, static, sync, async", name));
}

std::string_view BalanceModeName(BalanceMode mode) {
  switch (mode) {
    case BalanceMode::kOff:
      return "off";
    case BalanceMode::kStatic:
      return "static";
    case BalanceMode::kSync:
      return "sync";
    case BalanceMode::kAsync:
      return "async";
  }
  return "unknown";
}

Status BalancerOptions::Validate() const {
  if (window_steps < 1 || bins_per_window < 1 || window_steps % bins_per_window != 0) {
    return InvalidArgument(
        fmt::format("a window of {} steps does not divide into {} bins: the number of steps must "
                    "be a positive multiple of the number of bins",
                    window_steps, bins_per_window));
  }
  if (history_windows < 1 || vote_lag_steps < 1 || idle_windows_warning < 1) {
    return InvalidArgument(fmt::format(
        "history_windows {}, vote_lag_steps {} and idle_windows_warning {} must be at least 1",
        history_windows, vote_lag_steps, idle_windows_warning));
  }
  if (pump_bytes == 0 || slice_bytes == 0 || staging_buffers < 1 || verify_every < 1) {
    return InvalidArgument(fmt::format(
        "pump_bytes {}, slice_bytes {}, staging_buffers {} and verify_every {} must be at least 1",
        pump_bytes, slice_bytes, staging_buffers, verify_every));
  }
  if (vote_deadline <= Duration::zero() || cycle_deadline <= Duration::zero()) {
    return InvalidArgument("vote_deadline and cycle_deadline must be positive");
  }
  PlanOptions filled = plan;
  if (filled.expert_bytes == 0) {
    filled.expert_bytes = 1;  // the store will say how many
  }
  return filled.Validate();
}

}  // namespace steelyard
