#include "engine/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/checkpoint/convert.h"
#include "engine/checkpoint/test_files.h"

namespace steelyard {
namespace {

using ::testing::HasSubstr;

// One F32 tensor [2] of the given name.
std::string OneTensor(const std::string& name, float first, float second) {
  return SafetensorsBytes(R"({")" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                          BytesOf<float>({first, second}));
}

float FirstElement(const Checkpoint& checkpoint, std::string_view name) {
  const int64_t shape[] = {2};
  const auto tensor = checkpoint.Get(name, shape);
  EXPECT_TRUE(tensor.ok()) << tensor.status().message();
  float values[2] = {};
  EXPECT_TRUE(CopyToF32(*tensor, values).ok());
  return values[0];
}

TEST(Checkpoint, ReadsASingleFile) {
  const TempFolder folder;
  folder.Write("model.safetensors", OneTensor("a", 1, 2));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->num_tensors(), 1U);
  EXPECT_EQ(FirstElement(*checkpoint, "a"), 1.0F);
  EXPECT_EQ(checkpoint->Find("b"), nullptr);
}

TEST(Checkpoint, ReadsShardsByTheIndexAndIgnoresTensorsThatItDoesNotName) {
  const TempFolder folder;
  folder.Write("one.safetensors", OneTensor("a", 1, 2));
  folder.Write("two.safetensors",
               SafetensorsBytes(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                                    "a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                                BytesOf<float>({3, 4, 5, 6})));
  folder.Write("model.safetensors.index.json",
               R"({"metadata":{"total_size":16},
                   "weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  auto opened = Checkpoint::Open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint checkpoint = std::move(opened).value();
  EXPECT_EQ(checkpoint.num_tensors(), 2U);
  EXPECT_EQ(FirstElement(checkpoint, "a"), 1.0F);
  EXPECT_EQ(FirstElement(checkpoint, "b"), 3.0F);
}

TEST(Checkpoint, ChecksNameShapeAndType) {
  const TempFolder folder;
  folder.Write("model.safetensors",
               SafetensorsBytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                                    "q":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[8,10]}})",
                                std::string(10, '\0')));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const int64_t vector[] = {2};
  const int64_t matrix[] = {2, 1};
  const std::string file = (folder.path() / "model.safetensors").string();
  EXPECT_TRUE(checkpoint->Get("a", vector).ok());
  EXPECT_EQ(checkpoint->Get("b", vector).status(),
            NotFound(folder.path().string() + ": the checkpoint holds no tensor \"b\""));
  EXPECT_EQ(checkpoint->Get("a", matrix).status(),
            InvalidArgument(file + ": tensor \"a\": shape must be [2, 1], but is [2]"));
  EXPECT_EQ(checkpoint->Get("q", vector).status(),
            Unimplemented(file + ": tensor \"q\": F8_E4M3 weights are not supported yet"));
}

TEST(Checkpoint, RefusesAFolderThatIsNone) {
  const TempFolder folder;
  const std::string missing = (folder.path() / "missing").string();
  EXPECT_EQ(Checkpoint::Open(missing).status(), NotFound(missing + ": there is no such folder"));
  const std::string file = folder.Write("file", "x").string();
  EXPECT_EQ(Checkpoint::Open(file).status(),
            InvalidArgument(file + ": must be a model folder, but is a file"));
  EXPECT_EQ(Checkpoint::Open(folder.path()).status(),
            NotFound(folder.path().string() +
                     ": holds neither model.safetensors nor model.safetensors.index.json"));
}

TEST(Checkpoint, RefusesAnIndexThatLies) {
  const TempFolder folder;
  folder.Write("one.safetensors", OneTensor("a", 1, 2));
  folder.Write("cut.safetensors", OneTensor("c", 1, 2).substr(0, 40));
  struct Row {
    std::string index;
    std::string message;
  };
  const Row rows[] = {
      {"{", "model.safetensors.index.json: line 1, column 2"},
      {"{}", "model.safetensors.index.json: weight_map: is missing"},
      {R"({"weight_map":[]})",
       "model.safetensors.index.json: weight_map: must be an object, but is an array"},
      {R"({"weight_map":{}})", "model.safetensors.index.json: weight_map: names no tensor"},
      {R"({"weight_map":{"a":1}})",
       "model.safetensors.index.json: weight_map.a: must be a string, but is 1"},
      {R"({"weight_map":{"a":"../one.safetensors"}})",
       "weight_map.a: \"../one.safetensors\" is not the name of a file in the folder"},
      {R"({"weight_map":{"a":""}})", "weight_map.a: \"\" is not the name of a file in the folder"},
      {R"({"weight_map":{"a":"zwei.safetensors"}})",
       "model.safetensors.index.json: weight_map: shard \"zwei.safetensors\" is not in the folder"},
      {R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})",
       "model.safetensors.index.json: weight_map: tensor \"b\" is not in \"one.safetensors\""},
      {R"({"weight_map":{"c":"cut.safetensors"}})", "cut.safetensors: the header of"},
  };
  for (const Row& row : rows) {
    folder.Write("model.safetensors.index.json", row.index);
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_FALSE(checkpoint.ok()) << row.index;
    EXPECT_THAT(checkpoint.status().message(), HasSubstr(row.message));
  }
}

TEST(Checkpoint, TheBundledModelIsWhole) {
  const auto checkpoint = Checkpoint::Open(STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const int64_t shape[] = {4096, 128};
  const auto embedding = checkpoint->Get("model.embed_tokens.weight", shape);
  ASSERT_TRUE(embedding.ok()) << embedding.status().message();
  std::vector<float> values(4096 * 128);
  EXPECT_TRUE(CopyToF32(*embedding, values).ok());
}

}  // namespace
}  // namespace steelyard
