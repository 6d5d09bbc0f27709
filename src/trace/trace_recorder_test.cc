#include "trace/trace_recorder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <vector>

#include "base/test_no_threads.h"
#include "steelyard/base/log.h"
#include "trace/h5_trace_for_test.h"
#include "trace/loads.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

// Bins first .. end - 1 of the test trace, all with the steps of the first.
LoadWindow Window(int first, int end) {
  LoadShape shape = kTestShape;
  shape.num_bins = end - first;
  std::vector<double> counts;
  for (int bin = first; bin < end; ++bin) {
    const std::vector<uint32_t> of_bin = CountsOfBin(bin);
    counts.insert(counts.end(), of_bin.begin(), of_bin.end());
  }
  return LoadWindow::Create(shape, std::move(counts)).value();
}

class TraceRecorderTest : public H5TraceTest {
 protected:
  std::unique_ptr<TraceRecorder> Start(const fs::path& path) const {
    return TraceRecorder::Start(path, kTestShape, TestOrigin()).value();
  }
};

TEST_F(TraceRecorderTest, WritesBinsInTheOrderInWhichTheyCame) {
  const auto recorder = Start(path_);
  for (int bin = 0; bin < 50; ++bin) {
    recorder->Add(Window(bin, bin + 1), StepsOfBin(bin));
  }
  ASSERT_EQ(recorder->Finish(), Status::Ok());
  ExpectBins(ReadLoadTrace(path_).value(), 50);
}

TEST_F(TraceRecorderTest, KeepsInHdf5WhatARunThatFailedRecorded) {
  {
    const auto recorder = Start(path_);
    recorder->Add(Window(0, 6), 3);
  }
  EXPECT_THAT(ReadLoadTrace(path_).value().steps, ElementsAre(3, 3, 3, 3, 3, 3));
}

TEST_F(TraceRecorderTest, WritesArraysAtTheEndOrNotAtAll) {
  for (const char* name : {"trace.npy", "trace.npz"}) {
    const fs::path path = folder_ / name;
    Start(path)->Add(Window(0, 2), 3);
    EXPECT_FALSE(fs::exists(path));
    const auto recorder = Start(path);
    recorder->Add(Window(0, 2), 3);
    recorder->Add(Window(2, 3), 3);
    EXPECT_FALSE(fs::exists(path));
    ASSERT_EQ(recorder->Finish(), Status::Ok());
    const LoadWindow loads = ReadLoads(path).value();
    EXPECT_EQ(loads.shape(), (LoadShape{3, 1, 3, 5}));
    EXPECT_EQ(loads.experts(2, 0, 1)[0], 3005 + 3020);
  }
}

TEST_F(TraceRecorderTest, IsEmptyWithoutACompleteBin) {
  ASSERT_EQ(Start(path_)->Finish(), Status::Ok());
  ASSERT_EQ(Start(folder_ / "trace.npy")->Finish(), Status::Ok());
  EXPECT_TRUE(fs::exists(path_));
  EXPECT_THAT(ReadLoads(folder_ / "trace.npy").status().message(),
              testing::HasSubstr("num_bins is 0"));
}

TEST_F(TraceRecorderTest, LeavesNoFileWhenARunFailedBeforeTheFirstBin) {
  (void)Start(path_);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(TraceRecorderTest, RefusesOtherFilesAndFoldersThatAreNotThere) {
  const fs::path wrong = folder_ / "trace.json";
  EXPECT_EQ(TraceRecorder::Start(wrong, kTestShape, {}).status().message(),
            wrong.string() + ": traces end in .h5, .npy or .npz");
  const fs::path nowhere = folder_ / "none" / "trace.h5";
  EXPECT_EQ(TraceRecorder::Start(nowhere, kTestShape, {}).status().message(),
            nowhere.string() + ": cannot create it: No such file or directory");
}

TEST_F(TraceRecorderTest, LeavesNoFileWhenItsThreadCannotBeStarted) {
  const NoThreads none;
  const auto recorder = TraceRecorder::Start(path_, kTestShape, TestOrigin());
  ASSERT_FALSE(recorder.ok());
  EXPECT_THAT(recorder.status().message(),
              testing::HasSubstr("the thread that writes it cannot be started: "));
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(TraceRecorderTest, GoesOnWhenTheDiskIsFullAndTellsInTheEnd) {
  const pid_t child = ::fork();
  if (child == 0) {
    SetLogLevel(LogLevel::kOff);
    (void)std::signal(SIGXFSZ, SIG_IGN);
    const rlimit most{10000, 10000};
    (void)::setrlimit(RLIMIT_FSIZE, &most);
    bool as_it_should_be = false;
    {
      const auto recorder = Start(path_);
      for (int bin = 0; bin < 400; ++bin) {
        recorder->Add(Window(bin, bin + 1), StepsOfBin(bin));
      }
      const std::string message = recorder->Finish().message();
      const Result<LoadTrace> trace = ReadLoadTrace(path_);
      as_it_should_be =
          trace.ok() && message.rfind(path_.string() + ": bin ", 0) == 0 &&
          message.ends_with(fmt::format(": cannot write: File too large; {} of 400 bins were "
                                        "recorded",
                                        trace->loads.shape().num_bins));
    }
    ::_exit(as_it_should_be ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  const LoadTrace trace = ReadLoadTrace(path_).value();
  ExpectBins(trace, trace.loads.shape().num_bins);
}

TEST_F(TraceRecorderTest, EndsAtACountThatNoTraceCanHold) {
  SetLogLevel(LogLevel::kOff);
  const auto recorder = Start(path_);
  recorder->Add(Window(0, 1), StepsOfBin(0));
  LoadWindow half = Window(1, 2);
  half.experts(0, 1, 2)[3] = 0.5;
  recorder->Add(half, StepsOfBin(1));
  recorder->Add(Window(2, 3), StepsOfBin(2));
  EXPECT_EQ(recorder->Finish().message(),
            path_.string() +
                ": bin 0, phase 1, layer 2, expert 3: 0.5 is not a whole number of tokens below "
                "2^32; 1 of 3 bins were recorded");
  SetLogLevel(LogLevel::kWarning);
}

}  // namespace
}  // namespace steelyard
