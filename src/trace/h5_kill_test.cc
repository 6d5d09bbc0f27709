// A writer that dies at any moment, or whose disk is full, leaves nothing or a trace of complete
// bins.
//
// This program's pwrite() and ftruncate() stand before the system's, so that a child can die before
// any one of the calls by which HDF5 changes a file, or at the end of a page within it, which is
// where the kernel looks for a SIGKILL.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/test_scale.h"
#include "trace/h5_reader.h"
#include "trace/h5_trace_for_test.h"

namespace {

constexpr int kNever = -1;
constexpr size_t kPageBytes = 4096;
int writes_left = kNever;

void DieWhenDue() {
  if (writes_left == 0) {
    (void)::raise(SIGKILL);
  }
  if (writes_left != kNever) {
    --writes_left;
  }
}

}  // namespace

extern "C" ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  const size_t to_page_end = kPageBytes - static_cast<size_t>(offset) % kPageBytes;
  if (writes_left == 0 && to_page_end < size) {
    (void)::syscall(SYS_pwrite64, fd, bytes, to_page_end, offset);
  }
  DieWhenDue();
  return ::syscall(SYS_pwrite64, fd, bytes, size, offset);
}

extern "C" int ftruncate(int fd, off_t size) noexcept {
  DieWhenDue();
  return static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// What a child tells its parent by shared memory, which survives its death.
struct Told {
  std::atomic<int> appended{0};
  std::atomic<bool> renamed{false};
};

class KilledH5Writer : public H5TraceTest {
 protected:
  KilledH5Writer()
      : told_(static_cast<Told*>(::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~KilledH5Writer() override { ::munmap(told_, sizeof(Told)); }

  // Runs `body` in a child and says how it ended, as waitpid() does.
  int RunChild(const std::function<bool()>& body) const {
    const pid_t child = Start(body);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
  static pid_t Start(const std::function<bool()>& body) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::_exit(body() ? 0 : 1);
    }
    return child;
  }

  bool WriteTrace(int num_bins, const LoadShape& shape = kTestShape) const {
    auto writer = H5TraceWriter::Create(path_, shape, TestOrigin());
    if (!writer.ok()) {
      return false;
    }
    told_->renamed = true;
    for (int bin = 0; bin < num_bins; ++bin) {
      if (!AppendBins(**writer, bin, bin + 1, shape).ok()) {
        return false;
      }
      told_->appended = bin + 1;
    }
    return (*writer)->Close().ok();
  }

  // That the file is as it should be after a death at any moment; the number of its bins.
  int CheckWhatIsLeft(const LoadShape& shape = kTestShape) const {
    if (!fs::exists(path_)) {
      EXPECT_FALSE(told_->renamed);
      return 0;
    }
    const Result<LoadTrace> trace = ReadH5Trace(path_);
    if (!trace.ok()) {
      EXPECT_THAT(trace.status().message(), HasSubstr("it has no complete bin"));
      EXPECT_EQ(told_->appended, 0);
      return 0;
    }
    const int num_bins = trace->loads.shape().num_bins;
    ExpectBins(*trace, num_bins, shape);
    EXPECT_GE(num_bins, told_->appended);
    EXPECT_LE(num_bins, told_->appended + 1);
    return num_bins;
  }

  void Forget() const {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      fs::remove(entry.path());
    }
    told_->renamed = false;
    told_->appended = 0;
  }

  Told* told_;
};

TEST_F(KilledH5Writer, LeavesCompleteBinsBeforeWhicheverWriteItDies) {
  constexpr int kNumBins = 8;
  int last = 0;
  for (int num_writes = 0;; ++num_writes) {
    Forget();
    const int status = RunChild([&] {
      writes_left = num_writes;
      return WriteTrace(kNumBins);
    });
    const int num_bins = CheckWhatIsLeft();
    ASSERT_FALSE(HasFailure()) << "killed before write " << num_writes;
    EXPECT_GE(num_bins, last) << "killed before write " << num_writes;
    last = num_bins;
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
      EXPECT_GT(num_writes, 2 * kNumBins);
      break;
    }
  }
  EXPECT_EQ(last, kNumBins);
}

// A longer file, whose index of chunks grows in several ways.
TEST_F(KilledH5Writer, LeavesCompleteBinsOfALongTrace) {
  constexpr int kNumBins = 700;
  constexpr LoadShape kLarge{0, 2, 4, 160};
  for (int seed = 0; seed < Scaled(15); ++seed) {
    Forget();
    const int status = RunChild([&] {
      writes_left = static_cast<int>(std::mt19937(seed)() % (kNumBins * 8));
      return WriteTrace(kNumBins, kLarge);
    });
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    CheckWhatIsLeft(kLarge);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

// From outside and at no particular moment, while the file is read all along.
TEST_F(KilledH5Writer, LeavesCompleteBinsWheneverItIsKilled) {
  for (int seed = 0; seed < Scaled(30); ++seed) {
    Forget();
    const pid_t child = Start([&] { return WriteTrace(1 << 20); });
    const int kill_at = static_cast<int>(std::mt19937(seed)() % 60);
    while (told_->appended < kill_at) {
      if (fs::exists(path_)) {
        const Result<LoadTrace> trace = ReadH5Trace(path_);
        if (trace.ok()) {
          ExpectBins(*trace, trace->loads.shape().num_bins);
        }
      }
      ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    CheckWhatIsLeft();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST_F(KilledH5Writer, SaysThatTheDiskIsFullAndKeepsWhatWasThere) {
  // Sizes at which creating fails, then appending, and then nothing.
  bool created = false;
  bool finished = false;
  for (rlim_t limit = 1; !finished; limit += limit < 4096 ? 257 : 1021) {
    Forget();
    const int status = RunChild([&] {
      (void)std::signal(SIGXFSZ, SIG_IGN);
      const rlimit most{limit, limit};
      (void)::setrlimit(RLIMIT_FSIZE, &most);
      auto writer = H5TraceWriter::Create(path_, kTestShape, TestOrigin());
      Status failure = writer.status();
      for (int bin = 0; failure.ok() && bin < 60; ++bin) {
        failure = AppendBins(**writer, bin, bin + 1);
        told_->appended = (*writer)->num_bins();
        told_->renamed = true;
      }
      if (failure.ok()) {
        failure = (*writer)->Close();
      }
      if (failure.ok()) {
        ::_exit(7);
      }
      const bool told = failure.message().rfind(path_.string() + ": ", 0) == 0 &&
                        failure.message().find("File too large") != std::string::npos;
      return told && (!writer.ok() || !AppendBins(**writer, 0, 1).ok());
    });
    ASSERT_TRUE(WIFEXITED(status)) << "limit " << limit;
    finished = WEXITSTATUS(status) == 7;
    EXPECT_TRUE(finished || WEXITSTATUS(status) == 0) << "limit " << limit;
    created = created || fs::exists(path_);
    EXPECT_EQ(fs::exists(path_) || finished, created) << "limit " << limit;
    CheckWhatIsLeft();
    EXPECT_LE(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
    ASSERT_FALSE(HasFailure()) << "limit " << limit;
  }
}

}  // namespace
}  // namespace steelyard
