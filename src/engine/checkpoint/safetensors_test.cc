#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/test_scale.h"
#include "engine/checkpoint/convert.h"
#include "engine/checkpoint/test_files.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

Result<TensorMap> Parse(const std::string& contents) {
  return ParseSafetensors(AsBytes(contents), "w.safetensors");
}

// Two tensors: "a" is F32 [2, 3], then "b" is BF16 [4].
std::string TwoTensors() {
  return SafetensorsBytes(R"({"__metadata__":{"format":"pt"},
      "b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},
      "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}    )",
                          BytesOf<float>({1, 2, 3, 4, 5, 6}) + BytesOf<uint16_t>({1, 2, 3, 4}));
}

TEST(Safetensors, GivesEachTensorItsTypeShapeAndBytes) {
  const std::string contents = TwoTensors();
  const auto tensors = Parse(contents);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 2U);
  const Tensor& a = tensors->at("a");
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_THAT(a.shape, ElementsAre(2, 3));
  EXPECT_EQ(a.num_elements(), 6);
  float last = 0;
  std::memcpy(&last, a.bytes.data() + 20, sizeof(last));
  EXPECT_EQ(last, 6.0F);
  const Tensor& b = tensors->at("b");
  EXPECT_EQ(b.dtype, DType::kBF16);
  EXPECT_EQ(b.bytes.size(), 8U);
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.file, "w.safetensors");
}

TEST(Safetensors, ReadsScalarsEmptyTensorsAndEmptyFiles) {
  const std::string contents = SafetensorsBytes(
      R"({"scalar":{"dtype":"I64","shape":[],"data_offsets":[0,8]},
          "none":{"dtype":"F32","shape":[3,0],"data_offsets":[8,8]}})",
      std::string(8, '\1'));
  const auto tensors = Parse(contents);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->at("scalar").num_elements(), 1);
  EXPECT_EQ(tensors->at("none").num_elements(), 0);
  EXPECT_TRUE(Parse(SafetensorsBytes("{}", ""))->empty());
}

TEST(Safetensors, KnowsTheSizeOfEveryDType) {
  for (const auto& [name, bytes] : std::map<std::string, int>{{"BOOL", 1},
                                                              {"U8", 1},
                                                              {"I8", 1},
                                                              {"F8_E5M2", 1},
                                                              {"F8_E4M3", 1},
                                                              {"F8_E8M0", 1},
                                                              {"I16", 2},
                                                              {"U16", 2},
                                                              {"F16", 2},
                                                              {"BF16", 2},
                                                              {"I32", 4},
                                                              {"U32", 4},
                                                              {"F32", 4},
                                                              {"F64", 8},
                                                              {"I64", 8},
                                                              {"U64", 8},
                                                              {"C64", 8}}) {
    const auto tensors = Parse(SafetensorsBytes(
        fmt::format(R"({{"x":{{"dtype":"{}","shape":[3],"data_offsets":[0,{}]}}}})", name,
                    3 * bytes),
        std::string(static_cast<size_t>(3 * bytes), '\0')));
    ASSERT_TRUE(tensors.ok()) << tensors.status().message();
    EXPECT_EQ(DTypeName(tensors->at("x").dtype), name);
    EXPECT_EQ(DTypeBytes(tensors->at("x").dtype), bytes);
  }
}

// One tensor "x" with the given members, and `data_bytes` bytes of data.
std::string One(std::string_view members, size_t data_bytes) {
  return SafetensorsBytes(fmt::format(R"({{"x":{{{}}}}})", members), std::string(data_bytes, '\0'));
}

std::string WithLength(uint64_t length, std::string_view rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)).append(rest);
}

std::string Pair(std::string_view a, std::string_view b, size_t data_bytes) {
  constexpr std::string_view kEntry = R"({{"dtype":"U8","shape":[{}],"data_offsets":[{}]}})";
  const auto entry = [&](std::string_view offsets) {
    const int begin = offsets[0] - '0';
    const int end = offsets[2] - '0';
    return fmt::format(kEntry, end - begin, offsets);
  };
  return SafetensorsBytes(fmt::format(R"({{"a":{},"b":{}}})", entry(a), entry(b)),
                          std::string(data_bytes, '\0'));
}

TEST(Safetensors, RefusesWhatContradictsItself) {
  struct Row {
    std::string contents;
    std::string message;
  };
  const Row rows[] = {
      {"", "w.safetensors: 0 bytes are too few for a safetensors file"},
      {"1234567", "w.safetensors: 7 bytes are too few for a safetensors file"},
      {WithLength(100, "{}"),
       "w.safetensors: the header of 100 bytes goes beyond the file's 10 bytes"},
      {WithLength(100'000'001, "{}"),
       "w.safetensors: a header of 100000001 bytes is longer than the 100000000 allowed"},
      {WithLength(UINT64_MAX, "{}"),
       "w.safetensors: a header of 18446744073709551615 bytes is longer than the 100000000 "
       "allowed"},
      {SafetensorsBytes("{\"x\":", ""), "w.safetensors: header: line 1, column"},
      {SafetensorsBytes("\xFF{}", ""),
       "w.safetensors: header: line 1, column 1: the text is not UTF-8"},
      {SafetensorsBytes("[]", ""), "w.safetensors: header: must be an object, but is an array"},
      {SafetensorsBytes(R"({"x":3})", ""), "w.safetensors: header: x: must be an object, but is 3"},
      {SafetensorsBytes(R"({"__metadata__":{"format":1}})", ""),
       "w.safetensors: header: __metadata__.format: must be a string, but is 1"},
      {One(R"("shape":[1],"data_offsets":[0,1])", 1), "w.safetensors: header: x.dtype: is missing"},
      {One(R"("dtype":"U8","data_offsets":[0,1])", 1),
       "w.safetensors: header: x.shape: is missing"},
      {One(R"("dtype":"U8","shape":[1])", 1), "w.safetensors: header: x.data_offsets: is missing"},
      {One(R"("dtype":"F12","shape":[1],"data_offsets":[0,1])", 1),
       "w.safetensors: header: x.dtype: \"F12\" is not a dtype known here"},
      {One(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])", 1),
       "w.safetensors: header: x.shape[0]: must be an integer from 0 to"},
      {One(R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])", 1),
       "w.safetensors: header: x.shape[0]: must be an integer from 0 to"},
      {One(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,2])", 1),
       "w.safetensors: header: x.data_offsets: must be [begin, end], but has 3 entries"},
      {One(R"("dtype":"U8","shape":[1],"data_offsets":[-1,1])", 1),
       "w.safetensors: header: x.data_offsets[0]: must be an integer from 0 to"},
      {One(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])", 1),
       "w.safetensors: header: x.data_offsets: [1, 0) is not a range of the file's 1 bytes of "
       "data"},
      {One(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])", 1),
       "w.safetensors: header: x.data_offsets: [0, 2) is not a range of the file's 1 bytes of "
       "data"},
      {One(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,8])", 8),
       "w.safetensors: header: x: shape [2, 2] of F32 does not take the 8 bytes of data_offsets"},
      {One(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])", 0),
       "w.safetensors: header: x: shape [4611686018427387904, 4] of F32 does not take the 0 bytes"},
      {SafetensorsBytes(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                            "x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                        "1"),
       "w.safetensors: header: line 2, column 29: key \"x\" is there twice in one object"},
      {Pair("0,4", "2,6", 6),
       "w.safetensors: tensor \"b\": its data_offsets overlap another tensor's"},
      {Pair("0,4", "0,4", 4),
       "w.safetensors: tensor \"b\": its data_offsets overlap another tensor's"},
      {Pair("0,2", "4,6", 6),
       "w.safetensors: tensor \"b\": 2 bytes before its data belong to none"},
      {Pair("0,2", "2,4", 7), "w.safetensors: 3 bytes at the end belong to no tensor"},
      {SafetensorsBytes("{}", "1"), "w.safetensors: 1 bytes at the end belong to no tensor"},
  };
  for (const Row& row : rows) {
    const auto tensors = Parse(row.contents);
    ASSERT_FALSE(tensors.ok()) << row.message;
    EXPECT_THAT(tensors.status().message(), StartsWith(row.message));
    EXPECT_EQ(tensors.status().message().find('\n'), std::string::npos);
  }
}

TEST(Safetensors, OpensAFileAndSurvivesBeingMoved) {
  const TempFolder folder;
  auto opened = SafetensorsFile::Open(folder.Write("w.safetensors", TwoTensors()));
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Tensor* before = &opened->tensors().at("a");
  const SafetensorsFile moved = std::move(opened).value();
  EXPECT_EQ(&moved.tensors().at("a"), before);
  EXPECT_EQ(before->bytes[3], std::byte{0x3F});  // the top byte of 1.0F

  const auto missing = SafetensorsFile::Open(folder.path() / "missing.safetensors");
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), StartsWith((folder.path() / "missing").string()));
}

// Reads everything that a parsed file offers; sanitizers see a range that is not the file's.
void Touch(const TensorMap& tensors) {
  for (const auto& item : tensors) {
    std::vector<float> values(static_cast<size_t>(item.second.num_elements()));
    const Status status = CopyToF32(item.second, values);
    ASSERT_TRUE(status.ok() || !status.message().empty());
  }
}

TEST(Safetensors, NoDamagedFileIsReadBeyondItsEnd) {
  const std::string good = TwoTensors();
  for (size_t size = 0; size < good.size(); ++size) {
    const auto tensors = Parse(good.substr(0, size));
    EXPECT_FALSE(tensors.ok()) << "cut to " << size << " bytes";
  }
  int num_read = 0;
  for (int seed = 0; seed < Scaled(3000); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string damaged = good;
    for (int i = 0; i < 1 + seed % 3; ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto tensors = Parse(damaged);
    if (tensors.ok()) {
      ++num_read;
      SCOPED_TRACE(fmt::format("seed {}", seed));
      Touch(*tensors);
    }
  }
  EXPECT_GT(num_read, 0);  // a flipped weight is no damage that the format shows
}

}  // namespace
}  // namespace steelyard
