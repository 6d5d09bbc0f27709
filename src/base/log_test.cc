#include "steelyard/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace steelyard {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

class LogTest : public testing::Test {
 protected:
  void SetUp() override { testing::internal::CaptureStderr(); }
  void TearDown() override { SetLogLevel(LogLevel::kWarning); }
  static std::string Logged() { return testing::internal::GetCapturedStderr(); }
};

TEST_F(LogTest, WarningsAreShownAndInfoIsNotUntilAskedFor) {
  Log(LogLevel::kInfo, "cycle {}", 1);
  Log(LogLevel::kWarning, "cycle {}", 2);
  SetLogLevel(LogLevel::kInfo);
  Log(LogLevel::kInfo, "cycle {}", 3);
  Log(LogLevel::kDebug, "cycle {}", 4);
  const std::string text = Logged();
  EXPECT_THAT(text, Not(HasSubstr("cycle 1")));
  EXPECT_THAT(text, HasSubstr("warning cycle 2\n"));
  EXPECT_THAT(text, HasSubstr("info cycle 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("cycle 4")));
}

TEST_F(LogTest, OffSilencesEverything) {
  SetLogLevel(LogLevel::kOff);
  Log(LogLevel::kError, "nobody reads this");
  LogMessage(LogLevel::kOff, "nor this");
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
  EXPECT_EQ(Logged(), "");
}

TEST_F(LogTest, AMessageIsOneLineWithTimeAndLevelWhateverItHolds) {
  LogMessage(LogLevel::kError, "first\nsecond {} %v");
  const std::string text = Logged();
  EXPECT_THAT(text,
              ContainsRegex("^[0-9]+-[0-9]+-[0-9]+ [0-9:.]+ error first second \\{\\} %v\n$"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST_F(LogTest, LinesOfSeveralThreadsDoNotMix) {
  std::vector<std::thread> threads;
  for (int thread_idx = 0; thread_idx < 4; ++thread_idx) {
    threads.emplace_back([] {
      for (int i = 0; i < 50; ++i) {
        Log(LogLevel::kWarning, "{}", std::string(200, 'x'));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const std::string text = Logged();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4 * 50);
  const std::string whole = " warning " + std::string(200, 'x') + "\n";
  int num_whole = 0;
  for (size_t at = text.find(whole); at != std::string::npos; at = text.find(whole, at + 1)) {
    ++num_whole;
  }
  EXPECT_EQ(num_whole, 4 * 50);
}

}  // namespace
}  // namespace steelyard
