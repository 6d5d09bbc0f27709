#include "base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <csignal>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/test_scale.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(testing::TempDir()) / ("file_test_" + name + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path Make(const std::string& name, const std::string& contents) const {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
    return folder_ / name;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path folder_;
};

std::string Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_F(FileTest, WhatWasWrittenIsWhatIsReadAndMapped) {
  std::mt19937_64 random(1);
  for (const size_t size : {0, 1, 4095, 4096, 4097, 100000}) {
    std::string contents(size, '\0');
    std::generate(contents.begin(), contents.end(), [&] { return static_cast<char>(random()); });
    const fs::path path = folder_ / "data.bin";
    ASSERT_TRUE(WriteFileAtomically(path, contents).ok());
    const Result<std::string> read = ReadFile(path);
    ASSERT_TRUE(read.ok()) << read.status().ToString();
    EXPECT_EQ(*read, contents) << size << " bytes";
    const Result<MappedFile> mapped = MappedFile::Open(path);
    ASSERT_TRUE(mapped.ok()) << mapped.status().ToString();
    EXPECT_EQ(Text(*mapped), contents) << size << " bytes";
    EXPECT_EQ(mapped->path(), path);
  }
  EXPECT_THAT(Names(), ElementsAre("data.bin"));
}

TEST_F(FileTest, FilesThatDoNotSayTheirSizeAreReadWhole) {
  const Result<std::string> text = ReadFile("/proc/self/maps");
  ASSERT_TRUE(text.ok()) << text.status().ToString();
  EXPECT_THAT(*text, HasSubstr("base_test"));
}

TEST_F(FileTest, WritingReplacesTheOldContents) {
  const fs::path path = Make("a.txt", "old and longer");
  ASSERT_TRUE(WriteFileAtomically(path, "new").ok());
  EXPECT_EQ(ReadFile(path).value(), "new");
}

TEST_F(FileTest, ANameMayBeAsLongAsNamesCanBe) {
  const fs::path path = folder_ / std::string(NAME_MAX, 'n');
  const Status written = WriteFileAtomically(path, "contents");
  ASSERT_TRUE(written.ok()) << written.message();
  EXPECT_EQ(ReadFile(path).value(), "contents");
}

TEST_F(FileTest, AReaderKeepsTheBytesThatItMapped) {
  const fs::path path = Make("a.txt", "first");
  const Result<MappedFile> mapped = MappedFile::Open(path);
  ASSERT_TRUE(mapped.ok());
  ASSERT_TRUE(WriteFileAtomically(path, "other").ok());
  EXPECT_EQ(Text(*mapped), "first");
}

TEST_F(FileTest, AMappingMovesWithItsObject) {
  Result<MappedFile> first = MappedFile::Open(Make("a.txt", "alpha"));
  Result<MappedFile> second = MappedFile::Open(Make("b.txt", "beta"));
  ASSERT_TRUE(first.ok() && second.ok());
  MappedFile moved = std::move(first).value();
  EXPECT_EQ(Text(moved), "alpha");
  moved = std::move(second).value();
  EXPECT_EQ(Text(moved), "beta");
  EXPECT_EQ(moved.path().filename(), "b.txt");
}

TEST_F(FileTest, AMissingFileIsNamed) {
  const fs::path path = folder_ / "absent.json";
  const std::string expected = path.string() + ": cannot open: No such file or directory";
  EXPECT_EQ(ReadFile(path).status(), NotFound(expected));
  EXPECT_EQ(MappedFile::Open(path).status(), NotFound(expected));
}

TEST_F(FileTest, AFolderIsNoFile) {
  EXPECT_EQ(ReadFile(folder_).status(),
            FailedPrecondition(folder_.string() + ": cannot read: Is a directory"));
  EXPECT_EQ(MappedFile::Open(folder_).status(),
            FailedPrecondition(folder_.string() + ": cannot map: it is not a regular file"));
}

TEST_F(FileTest, NothingButARegularFileIsReplaced) {
  const std::string rule = ": cannot write: it exists and is not a regular file";
  EXPECT_EQ(WriteFileAtomically(folder_, "x"), FailedPrecondition(folder_.string() + rule));
  EXPECT_EQ(WriteFileAtomically("/dev/null", "x"), FailedPrecondition("/dev/null" + rule));
}

TEST_F(FileTest, AFolderThatIsNotThereIsReportedUnderTheNameAskedFor) {
  const fs::path path = folder_ / "absent" / "a.txt";
  EXPECT_EQ(WriteFileAtomically(path, "x"),
            NotFound(path.string() + ": cannot write: No such file or directory"));
}

TEST_F(FileTest, AFailedWriteLeavesNothingBehind) {
  // The temporary name fits, and this one does not.
  const fs::path path = folder_ / std::string(NAME_MAX + 1, 'n');
  const Status status = WriteFileAtomically(path, "x");
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), StartsWith(path.string() + ": cannot rename "));
  EXPECT_THAT(status.message(), EndsWith("File name too long"));
  EXPECT_THAT(Names(), ElementsAre());
}

// /dev/full refuses every write, but it is no regular file; a limit on the size of files makes
// write() of a regular one fail. Ends the process, which is a child, so that other tests do not
// carry the limit.
[[noreturn]] void WriteUnderALimitAndExit(const fs::path& path) {
  struct rlimit limit = {};
  limit.rlim_cur = limit.rlim_max = 16;
  ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const Status status = WriteFileAtomically(path, std::string(100, 'x'));
  ::_exit(status.message() == path.string() + ": cannot write: File too large" ? 0 : 1);
}

TEST_F(FileTest, AFullDiskLeavesTheOldFileAndNoTemporaryOne) {
  const fs::path path = Make("a.txt", "old");
  EXPECT_EXIT(WriteUnderALimitAndExit(path), testing::ExitedWithCode(0), "");
  EXPECT_THAT(Names(), ElementsAre("a.txt"));
  EXPECT_EQ(ReadFile(path).value(), "old");
}

TEST_F(FileTest, AReaderNeverSeesHalfOfAWrite) {
  const fs::path path = Make("a.txt", std::string(50000, 'a'));
  const int num_writes = Scaled(30);
  std::jthread writer([&] {
    for (int i = 0; i < num_writes; ++i) {
      EXPECT_TRUE(WriteFileAtomically(path, std::string(50000, i % 2 == 0 ? 'b' : 'a')).ok());
    }
  });
  for (int i = 0; i < 10 * num_writes; ++i) {
    const Result<std::string> text = ReadFile(path);
    ASSERT_TRUE(text.ok()) << text.status().ToString();
    ASSERT_EQ(text->size(), 50000U);
    ASSERT_EQ(text->find_first_not_of(text->front()), std::string::npos) << "at read " << i;
  }
}

}  // namespace
}  // namespace steelyard
