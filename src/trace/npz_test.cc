#include "trace/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/test_scale.h"
#include "trace/npz_for_test.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class Npz : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / (std::string("steelyard_npz_") + info->name() + ".npz");
  }
  void TearDown() override { fs::remove(path_); }

  fs::path path_;
};

TEST_F(Npz, ReadsItsArraysByName) {
  WriteNpz(path_, {{"b.npy", NpyBytes({2, 2}, {1, 2, 3, 4})}, {"a.npy", NpyBytes({1}, {9})}});
  const Result<NpzFile> file = NpzFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_THAT(file->names(), ElementsAre("b", "a"));
  EXPECT_THAT(file->Read("a")->ToDoubles().value(), ElementsAre(9));
  EXPECT_THAT(file->Read("b")->ToDoubles().value(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(file->Read("a")->ToDoubles().value(), ElementsAre(9));  // and again
  EXPECT_EQ(file->Read("c").status(), NotFound(path_.string() + ": no array is named \"c\""));
}

TEST_F(Npz, MayBeEmpty) {
  std::ofstream(path_) << std::string("PK\5\6") + std::string(18, '\0');
  EXPECT_THAT(NpzFile::Open(path_).value().names(), IsEmpty());
}

TEST_F(Npz, RefusesWhatIsNoZipOfArrays) {
  EXPECT_EQ(NpzFile::Open(path_).status().code(), StatusCode::kNotFound);
  std::ofstream(path_) << "not a zip at all";
  EXPECT_THAT(NpzFile::Open(path_).status().message(),
              StartsWith(path_.string() + ": not a zip: "));
  WriteNpz(path_, {{"a.npy", NpyBytes({1}, {9})}, {"readme.txt", "hello"}});
  EXPECT_EQ(NpzFile::Open(path_).status().message(),
            path_.string() + ": entry 1 is not named as an array (NAME.npy)");
  WriteNpz(path_, {{".npy", NpyBytes({1}, {9})}});
  EXPECT_EQ(NpzFile::Open(path_).status().message(),
            path_.string() + ": entry 0 is not named as an array (NAME.npy)");
  WriteNpz(path_, {{"a\nb.npy", NpyBytes({1}, {9})}});
  EXPECT_EQ(NpzFile::Open(path_).status().message(),
            path_.string() + ": entry 0 has a control character in its name");
}

TEST_F(Npz, NamesTheArrayThatIsNone) {
  WriteNpz(path_, {{"a.npy", "hello"}});
  EXPECT_EQ(
      NpzFile::Open(path_).value().Read("a").status(),
      InvalidArgument(path_.string() + ": array \"a\": it does not begin as a .npy file does"));
}

TEST_F(Npz, NoticesADamagedEntry) {
  std::vector<uint32_t> values(1000);
  std::mt19937 random(1);
  for (uint32_t& value : values) {
    value = static_cast<uint32_t>(random());
  }
  WriteNpz(path_, {{"a.npy", NpyBytes({1000}, values)}});
  std::string bytes = ReadFile(path_).value();
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(path_) << bytes;
  const Status status = NpzFile::Open(path_).value().Read("a").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), StartsWith(path_.string() + ": array \"a\": "));
}

TEST_F(Npz, ADamagedFileIsRefusedOrStillHasArrays) {
  WriteNpz(path_, {{"a.npy", NpyBytes({3}, {1, 2, 3})}, {"b.npy", NpyBytes({2, 2}, {1, 2, 3, 4})}});
  const std::string good = ReadFile(path_).value();
  int num_refused = 0;
  for (int seed = 0; seed < Scaled(1000); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string bytes = good;
    if (seed % 4 == 0) {
      bytes.resize(random() % bytes.size());
    } else {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    std::ofstream(path_) << bytes;
    const Result<NpzFile> file = NpzFile::Open(path_);
    bool refused = !file.ok();
    if (file.ok()) {
      for (const std::string& name : file->names()) {
        refused |= !file->Read(name).ok();
      }
    } else {
      EXPECT_THAT(file.status().message(), HasSubstr(path_.string()));
    }
    num_refused += refused ? 1 : 0;
  }
  EXPECT_THAT(num_refused, Gt(Scaled(1000) / 2));
}

TEST(NpzOfNumPy, HoldsTheReferenceOfTheBundledModel) {
  const fs::path folder = STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny/reference";
  const Result<NpzFile> logits = NpzFile::Open(folder / "logits.npz");
  ASSERT_TRUE(logits.ok()) << logits.status().ToString();
  const std::vector<std::string> ids = logits->Read("ids").value().ToStrings().value();
  EXPECT_THAT(ids, SizeIs(24));
  const NpyArray last = logits->Read("last").value();
  EXPECT_EQ(last.type, (NpyType{'f', 4}));
  ASSERT_THAT(last.shape, SizeIs(2));
  EXPECT_EQ(last.shape[0], ids.size());

  const Result<NpzFile> routing = NpzFile::Open(folder / "routing.npz");
  ASSERT_TRUE(routing.ok()) << routing.status().ToString();
  EXPECT_EQ(routing->names(), ids);
  const NpyArray counts = routing->Read(ids[0]).value();
  EXPECT_EQ(counts.type, (NpyType{'u', 4}));
}

}  // namespace
}  // namespace steelyard
