// Compares with what Hugging Face tokenizers answered for the bundled tokenizers.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "base/json.h"
#include "engine/tokenizer/tokenizer.h"

namespace steelyard {
namespace {

const std::string kQwen = STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny";
const std::string kDeepseek = STEELYARD_SOURCE_DIR "/tests/data/tokenizer/deepseek_v2_tiny";

std::vector<Json> ReadLines(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  std::vector<Json> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(Json::parse(line));
  }
  EXPECT_FALSE(lines.empty()) << path;
  return lines;
}

Tokenizer MustOpen(const std::string& folder) {
  auto tokenizer = Tokenizer::Open(folder);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).value();
}

// `num_bos`: ids at the start of each case that are not of the text.
void ExpectCases(const Tokenizer& tokenizer, const std::string& path, size_t num_bos) {
  for (const Json& line : ReadLines(path)) {
    const auto text = line["text"].get<std::string>();
    const auto expected = line["ids"].get<std::vector<int32_t>>();
    const auto ids = tokenizer.Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, expected) << text;
    const std::span<const int32_t> of_text = std::span(expected).subspan(num_bos);
    EXPECT_EQ(tokenizer.Decode(of_text, /*skip_special_tokens=*/false),
              line["decoded"].get<std::string>());
    const auto plain = tokenizer.Encode(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(plain.ok());
    EXPECT_EQ(*plain, std::vector<int32_t>(of_text.begin(), of_text.end())) << text;
  }
}

void ExpectPrompts(const Tokenizer& tokenizer, const std::string& tokens_path) {
  std::map<std::string, std::vector<int32_t>> expected;
  for (const Json& line : ReadLines(tokens_path)) {
    expected[line["id"].get<std::string>()] = line["input_ids"].get<std::vector<int32_t>>();
  }
  for (const Json& line : ReadLines(kQwen + "/reference/prompts.jsonl")) {
    const auto ids = tokenizer.Encode(line["prompt"].get<std::string>());
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, expected.at(line["id"].get<std::string>())) << line["id"];
  }
}

TEST(ReferenceTokenizer, Qwen3EncodesAndDecodesTheSame) {
  const Tokenizer tokenizer = MustOpen(kQwen);
  EXPECT_EQ(tokenizer.num_ids(), 4096);
  ExpectCases(tokenizer, kQwen + "/reference/tokenizer_cases.jsonl", 0);
  ExpectPrompts(tokenizer, kQwen + "/reference/tokens.jsonl");
}

TEST(ReferenceTokenizer, DeepseekEncodesAndDecodesTheSame) {
  const Tokenizer tokenizer = MustOpen(kDeepseek);
  EXPECT_EQ(tokenizer.num_ids(), 4096);
  ExpectCases(tokenizer, kDeepseek + "/tokenizer_cases.jsonl", 1);
  ExpectPrompts(tokenizer, kDeepseek + "/tokens.jsonl");
}

TEST(ReferenceTokenizer, GreedyTokensDecodeToTheTextOfTheReference) {
  const Tokenizer tokenizer = MustOpen(kQwen);
  for (const Json& line : ReadLines(kQwen + "/reference/greedy.jsonl")) {
    const auto ids = line["new_tokens"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/true), line["text"].get<std::string>());
  }
}

}  // namespace
}  // namespace steelyard
