#include "trace/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

std::string File(const std::string& dictionary, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    file += static_cast<char>(dictionary.size() >> (8 * i));
  }
  return file + dictionary + data;
}

std::string Dictionary(const std::string& descr, const std::string& shape,
                       const std::string& fortran_order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran_order + ", 'shape': " + shape +
         ", }\n";
}

Result<NpyArray> Parse(const std::string& file) { return ParseNpy(std::as_bytes(std::span(file))); }

std::vector<double> Numbers(const std::string& descr, const std::string& data) {
  const size_t count = data.size() / static_cast<size_t>(descr[2] - '0');
  return Parse(File(Dictionary(descr, "(" + std::to_string(count) + ",)"), data))
      .value()
      .ToDoubles()
      .value();
}

template <typename T>
std::string Bytes(std::initializer_list<T> values) {
  return std::string(reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T));
}

TEST(Npy, ReadsShapeAndNumbers) {
  const Result<NpyArray> array =
      Parse(File(Dictionary("<u4", "(2, 3)"), Bytes<uint32_t>({1, 2, 3, 4, 5, 4294967295u})));
  ASSERT_TRUE(array.ok()) << array.status().ToString();
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_THAT(array->ToDoubles().value(), ElementsAre(1, 2, 3, 4, 5, 4294967295.0));
  EXPECT_EQ(array->ToString(), "u4 [2, 3]");
}

TEST(Npy, ReadsEveryKindOfNumber) {
  EXPECT_THAT(Numbers("|i1", "\xff\x7f"), ElementsAre(-1, 127));
  EXPECT_THAT(Numbers("|u1", "\xff\x7f"), ElementsAre(255, 127));
  EXPECT_THAT(Numbers("<i2", Bytes<int16_t>({-2, 300})), ElementsAre(-2, 300));
  EXPECT_THAT(Numbers("<u2", Bytes<uint16_t>({65535})), ElementsAre(65535));
  EXPECT_THAT(Numbers("<i4", Bytes<int32_t>({-70000})), ElementsAre(-70000));
  EXPECT_THAT(Numbers("<i8", Bytes<int64_t>({-(1ll << 52)})), ElementsAre(-4503599627370496.0));
  EXPECT_THAT(Numbers("<u8", Bytes<uint64_t>({1ull << 63})), ElementsAre(9223372036854775808.0));
  EXPECT_THAT(Numbers("<f4", Bytes<float>({0.5f, -3e30f})), ElementsAre(0.5, -3e30f));
  EXPECT_THAT(Numbers("<f8", Bytes<double>({0.1, -1e300})), ElementsAre(0.1, -1e300));
}

TEST(Npy, ReadsHalves) {
  EXPECT_THAT(Numbers("<f2", Bytes<uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0001, 0x8400, 0xfc00})),
              ElementsAre(1, -2, 65504, std::ldexp(1, -24), -std::ldexp(1, -14), -INFINITY));
  EXPECT_TRUE(std::isnan(Numbers("<f2", Bytes<uint16_t>({0x7e00}))[0]));
}

TEST(Npy, ReadsBigEndianNumbers) {
  EXPECT_THAT(Numbers(">i2", std::string("\x01\x02\xff\xfe", 4)), ElementsAre(258, -2));
  EXPECT_THAT(Numbers(">f4", std::string("\x3f\x80\x00\x00", 4)), ElementsAre(1));
}

TEST(Npy, TurnsColumnsIntoRows) {
  // [2, 3] stored column by column: rows are 0 2 4 and 1 3 5.
  const Result<NpyArray> array =
      Parse(File(Dictionary("|u1", "(2, 3)", "True"), std::string("\0\1\2\3\4\5", 6)));
  ASSERT_TRUE(array.ok()) << array.status().ToString();
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_THAT(array->ToDoubles().value(), ElementsAre(0, 2, 4, 1, 3, 5));
}

TEST(Npy, TurnsColumnsIntoRowsInAnyNumberOfExtents) {
  std::string data(24, '\0');
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 4; ++k) {
        data[i + 2 * (j + 3 * k)] = static_cast<char>(100 * (i % 2) + 10 * j + k);
      }
    }
  }
  const NpyArray array = Parse(File(Dictionary("|u1", "(2, 3, 4)", "True"), data)).value();
  for (int i = 0; i < 24; ++i) {
    EXPECT_EQ(std::to_integer<int>(array.data[i]), 100 * (i / 12) + 10 * (i / 4 % 3) + i % 4);
  }
}

TEST(Npy, ReadsScalarsAndEmptyArrays) {
  EXPECT_THAT(Parse(File(Dictionary("|u1", "()"), "\7")).value().ToDoubles().value(),
              ElementsAre(7));
  EXPECT_THAT(Parse(File(Dictionary("<f4", "(5, 0)"), "")).value().ToDoubles().value(), IsEmpty());
}

TEST(Npy, ReadsText) {
  const std::string data = Bytes<uint32_t>({'a', '-', '1', 0xe9, 0, 0, 0x20ac, 0x1f600, 0});
  const NpyArray array = Parse(File(Dictionary("<U3", "(3,)"), data)).value();
  EXPECT_THAT(array.ToStrings().value(), ElementsAre("a-1", "é", "€😀"));
  EXPECT_EQ(array.ToDoubles().status(), InvalidArgument("entries of type 'U3' are not numbers"));
  const NpyArray big = Parse(File(Dictionary(">U1", "(1,)"), std::string("\0\0\0A", 4))).value();
  EXPECT_THAT(big.ToStrings().value(), ElementsAre("A"));
}

TEST(Npy, RefusesTextThatIsNone) {
  for (const uint32_t c : {0xd800u, 0xdfffu, 0x110000u, 0xffffffffu}) {
    const NpyArray array =
        Parse(File(Dictionary("<U1", "(2,)"), Bytes<uint32_t>({'a', c}))).value();
    EXPECT_EQ(array.ToStrings().status(), InvalidArgument("entry 1 holds what is no character"));
  }
  EXPECT_EQ(Parse(File(Dictionary("|u1", "(1,)"), "a")).value().ToStrings().status(),
            InvalidArgument("entries of type 'u1' are not text"));
}

TEST(Npy, ReadsVersionsOneToThree) {
  for (const char version : {1, 2, 3}) {
    EXPECT_TRUE(Parse(File(Dictionary("|u1", "(1,)"), "a", version)).ok());
  }
}

struct Refusal {
  std::string file;
  std::string message;
};

TEST(Npy, RefusesWithTheRule) {
  const std::string good = File(Dictionary("|u1", "(2,)"), "ab");
  const std::string not_supported =
      " is not supported (integers i1 to i8 and u1 to u8, floats f2, f4 and f8, and text U are)";
  const std::vector<Refusal> refusals = {
      {"", "it does not begin as a .npy file does"},
      {"PK\3\4 and so on", "it does not begin as a .npy file does"},
      {good.substr(0, 6), "the file ends within its header"},
      {good.substr(0, 9), "the file ends within its header"},
      {good.substr(0, 40), "the file ends within its header"},
      {File("{}", "", 4), "version 4 of the format is not supported"},
      {File("{}", "", '\xff'), "version -1 of the format is not supported"},
      {File("{}", ""), "the header lacks one of descr, fortran_order and shape"},
      {File("", ""), "the header is not a dictionary of Python"},
      {File("{'descr': '<f4'", ""), "the header is not a dictionary of Python"},
      {File("{'descr' '<f4'}", ""), "the header is not a dictionary of Python"},
      {File("{'descr: 1}", ""), "the header is not a dictionary of Python"},
      {File(Dictionary("|u1", "(2,)") + "x", "ab"), "the header is not a dictionary of Python"},
      {File("{'descr': '<f4', 'descr': '<f4'}", ""), "the header has a key twice"},
      {File("{'other': 1}", ""), "the header has a key other than descr, fortran_order and shape"},
      {File("{'descr': [('a', '<f4')]}", ""), "descr: types of several fields are not supported"},
      {File(Dictionary("|b1", "(2,)"), "ab"), "descr: type '|b1'" + not_supported},
      {File(Dictionary("<c8", "(1,)"), "abcdefgh"), "descr: type '<c8'" + not_supported},
      {File(Dictionary("|i2", "(1,)"), "ab"), "descr: type '|i2'" + not_supported},
      {File(Dictionary("<f16", "(0,)"), ""), "descr: type '<f16'" + not_supported},
      {File(Dictionary("<i3", "(0,)"), ""), "descr: type '<i3'" + not_supported},
      {File(Dictionary("<U0", "(9,)"), ""), "descr: type '<U0'" + not_supported},
      {File(Dictionary("<", "(9,)"), ""), "descr: type '<'" + not_supported},
      {File(Dictionary("<f4\n", "(9,)"), ""), "shape: [9] of 'f4' does not fill the 0 bytes"},
      {File(Dictionary("<\n4", "(9,)"), ""), "descr: type" + not_supported},
      {File(Dictionary("|u1", "(2,)", "Maybe"), "ab"),
       "fortran_order: it is neither True nor False"},
      {File(Dictionary("|u1", "2"), "ab"), "shape: it is not a tuple of lengths"},
      {File(Dictionary("|u1", "(-2,)"), "ab"), "shape: it is not a tuple of lengths"},
      {File(Dictionary("|u1", "(1 2)"), "ab"), "shape: it is not a tuple of lengths"},
      {File(Dictionary("|u1", "(99999999999999999999,)"), "ab"),
       "shape: it is not a tuple of lengths"},
      {File(Dictionary("|u1", "(" + std::string(99, '1').replace(0, 99, 99, ' ') + "1,)"), "ab"),
       "shape: [1] of 'u1' does not fill the 2 bytes of data that are there"},
      {File(Dictionary("|u1", "(3,)"), "ab"),
       "shape: [3] of 'u1' does not fill the 2 bytes of data that are there"},
      {File(Dictionary("<f8", "(1000000000000, 4294967296, 2)"), "ab"),
       "shape: [1000000000000, 4294967296, 2] of 'f8' does not fill the 2 bytes"},
      {File(Dictionary("|u1", "(4294967296, 4294967296)"), ""),  // a product of 2^64
       "shape: [4294967296, 4294967296] of 'u1' does not fill the 0 bytes"},
  };
  for (const Refusal& refusal : refusals) {
    const Result<NpyArray> array = Parse(refusal.file);
    EXPECT_EQ(array.status().code(), StatusCode::kInvalidArgument) << refusal.message;
    EXPECT_THAT(array.status().message(), HasSubstr(refusal.message));
    EXPECT_EQ(array.status().message().find('\n'), std::string::npos);
  }
  std::string many = "(";
  for (int i = 0; i < 33; ++i) {
    many += "1,";
  }
  EXPECT_EQ(Parse(File(Dictionary("|u1", many + ")"), "a")).status(),
            InvalidArgument("shape: more than 32 extents"));
}

TEST(Npy, GivesBackWhatWasWritten) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / "steelyard_npy_test.npy";
  const std::vector<uint32_t> counts = {0, 1, 4294967295u, 7, 8, 9};
  const std::vector<size_t> shape = {1, 2, 3};
  ASSERT_TRUE(WriteNpyFile(path, shape, counts).ok());
  const NpyArray array = ReadNpyFile(path).value();
  EXPECT_EQ(array.type, (NpyType{'u', 4}));
  EXPECT_EQ(array.shape, shape);
  EXPECT_THAT(array.ToDoubles().value(), ElementsAreArray(counts));

  const std::vector<float> logits = {0.1f, -2, 3};
  const std::vector<size_t> length = {3};
  ASSERT_TRUE(WriteNpyFile(path, length, logits).ok());
  EXPECT_THAT(ReadNpyFile(path).value().ToDoubles().value(), ElementsAreArray(logits));
  const std::string file = ReadFile(path).value();
  EXPECT_EQ(file.substr(10, 62), "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }     ");
  EXPECT_EQ((file.size() - 3 * sizeof(float)) % 64, 0u);  // data are aligned, as NumPy has them

  ASSERT_TRUE(WriteFileAtomically(path, "x").ok());
  EXPECT_EQ(ReadNpyFile(path).status().message(),
            path.string() + ": it does not begin as a .npy file does");
  std::filesystem::remove(path);
  EXPECT_EQ(ReadNpyFile(path).status().code(), StatusCode::kNotFound);
}

TEST(Npy, ADamagedFileIsRefusedOrStillAnArray) {
  const std::string good =
      File(Dictionary("<u2", "(2, 3)", "True"), Bytes<uint16_t>({1, 2, 3, 4, 5, 6}));
  int num_refused = 0;
  for (int seed = 0; seed < Scaled(20000); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string file = good;
    if (seed % 5 == 0) {
      file.resize(random() % file.size());
    }
    for (int i = 0; i < 1 + seed % 3; ++i) {
      const std::string likely = "0123456789()',: <>|iufU";
      file[random() % std::max<size_t>(file.size(), 1)] =
          seed % 2 == 0 ? likely[random() % likely.size()] : static_cast<char>(random());
    }
    const Result<NpyArray> array = Parse(file);
    num_refused += array.ok() ? 0 : 1;
    if (array.ok()) {
      const bool is_text = array->type.kind == 'U';
      EXPECT_EQ(array->ToDoubles().ok(), !is_text);
      EXPECT_LE(array->data.size(), file.size());
      EXPECT_TRUE(is_text || !array->ToStrings().ok());
    }
  }
  EXPECT_GT(num_refused, 0);
}

}  // namespace
}  // namespace steelyard
