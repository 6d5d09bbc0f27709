#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "steelyard/balance/balancer.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

TEST(BalancerOptions, DefaultsAreValid) { EXPECT_TRUE(BalancerOptions().Validate().ok()); }

TEST(BalancerOptions, ValidateNamesTheFirstOffender) {
  struct Row {
    std::function<void(BalancerOptions&)> spoil;
    const char* message;
  };
  const Row rows[] = {
      {[](auto& o) { o.window_steps = 0; }, "a window of 0 steps"},
      {[](auto& o) { o.bins_per_window = 0; }, "into 0 bins"},
      {[](auto& o) { o.bins_per_window = 5; }, "a window of 32 steps does not divide into 5 bins"},
      {[](auto& o) { o.history_windows = 0; }, "history_windows 0"},
      {[](auto& o) { o.vote_lag_steps = 0; }, "vote_lag_steps 0"},
      {[](auto& o) { o.idle_windows_warning = -1; }, "idle_windows_warning -1"},
      {[](auto& o) { o.pump_bytes = 0; }, "pump_bytes 0"},
      {[](auto& o) { o.slice_bytes = 0; }, "slice_bytes 0"},
      {[](auto& o) { o.staging_buffers = 0; }, "staging_buffers 0"},
      {[](auto& o) { o.verify_every = 0; }, "verify_every 0"},
      {[](auto& o) { o.vote_deadline = Duration::zero(); }, "vote_deadline"},
      {[](auto& o) { o.cycle_deadline = Duration(-1); }, "cycle_deadline"},
      {[](auto& o) { o.plan.price = -1; }, "price"},
  };
  for (const Row& row : rows) {
    BalancerOptions options;
    row.spoil(options);
    const Status status = options.Validate();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << row.message;
    EXPECT_THAT(status.message(), HasSubstr(row.message));
  }
}

TEST(BalancerOptions, ALimitInBytesNeedsNoExpertBytesSinceTheStoreKnows) {
  BalancerOptions options;
  options.plan.limits.bytes = 1000;
  EXPECT_TRUE(options.Validate().ok());
}

TEST(BalanceMode, NamesAreReadBack) {
  for (const BalanceMode mode :
       {BalanceMode::kOff, BalanceMode::kStatic, BalanceMode::kSync, BalanceMode::kAsync}) {
    EXPECT_EQ(ParseBalanceMode(BalanceModeName(mode)).value(), mode);
  }
  EXPECT_THAT(ParseBalanceMode("fast").status().message(),
              HasSubstr("\"fast\" is none of off, static, sync, async"));
}

}  // namespace
}  // namespace steelyard
