#include "engine/requests/requests.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/test_scale.h"
#include "engine/checkpoint/test_files.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

constexpr RequestLimits kLimits{.vocab_size = 4096, .max_context = 64};

// Without a BOS; "a" is 64.
const Tokenizer& Qwen() {
  static const Tokenizer tokenizer =
      Tokenizer::Open(STEELYARD_SOURCE_DIR "/models/qwen3_moe_tiny").value();
  return tokenizer;
}

// With the BOS 0; "a" is 67.
const Tokenizer& Deepseek() {
  static const Tokenizer tokenizer =
      Tokenizer::Open(STEELYARD_SOURCE_DIR "/tests/data/tokenizer/deepseek_v2_tiny").value();
  return tokenizer;
}

Result<std::vector<Request>> Parse(const std::string& text, const Tokenizer& tokenizer = Qwen()) {
  return ParseRequests(text, "r.jsonl", tokenizer, kLimits);
}

TEST(Requests, ReadsPromptsAndIdsInTheOrderOfTheFile) {
  const auto requests = Parse(
      R"({"id":"b","prompt":"a","max_new_tokens":3,"domain":"x","seed":7,"temperature":null})"
      "\r\n\n  \t\n"
      R"({"id":"a","input_ids":[5,4095],"max_new_tokens":62,"ignore_eos":true,"prompt":null})");
  ASSERT_TRUE(requests.ok()) << requests.status().message();
  ASSERT_EQ(requests->size(), 2U);
  EXPECT_EQ((*requests)[0].id, "b");
  EXPECT_THAT((*requests)[0].input_ids, ElementsAre(64));
  EXPECT_EQ((*requests)[0].max_new_tokens, 3);
  EXPECT_FALSE((*requests)[0].ignore_eos);
  EXPECT_EQ((*requests)[1].id, "a");
  EXPECT_THAT((*requests)[1].input_ids, ElementsAre(5, 4095));
  EXPECT_EQ((*requests)[1].max_new_tokens, 62);
  EXPECT_TRUE((*requests)[1].ignore_eos);
}

TEST(Requests, ABosAloneIsSomethingToPrefill) {
  const auto requests = Parse(R"({"id":"x","prompt":"","max_new_tokens":1})", Deepseek());
  ASSERT_TRUE(requests.ok()) << requests.status().message();
  EXPECT_THAT(requests->front().input_ids, ElementsAre(0));
}

struct Refusal {
  std::string line;
  std::string message;
};

void ExpectRefused(std::initializer_list<Refusal> rows) {
  const std::string good = R"({"id":"good","prompt":"a","max_new_tokens":1})";
  for (const Refusal& row : rows) {
    const auto requests = Parse(good + "\n\n" + row.line + "\n");
    ASSERT_FALSE(requests.ok()) << row.line;
    EXPECT_THAT(requests.status().message(), StartsWith("r.jsonl: line 3: " + row.message));
    EXPECT_EQ(requests.status().message().find('\n'), std::string::npos);
  }
}

TEST(Requests, AnIdIsAsLongAsAFileNameAllows) {
  RequestLimits limits = kLimits;
  limits.max_id_bytes = 4;
  const std::string lines = R"({"id":"four","prompt":"a","max_new_tokens":1})"
                            "\n"
                            R"({"id":"fives","prompt":"a","max_new_tokens":1})";
  EXPECT_TRUE(Parse(lines).ok());
  EXPECT_EQ(ParseRequests(lines, "r.jsonl", Qwen(), limits).status().message(),
            "r.jsonl: line 2: id: \"fives\" has 5 bytes, but the name of a file has room for 4");
}

TEST(Requests, SaysWhereALineIsNoJson) {
  const std::string good = R"({"id":"good","prompt":"a","max_new_tokens":1})";
  for (const auto& [line, place] : std::vector<std::pair<std::string, std::string>>{
           {"{", "column 2: "},
           {R"({"id":"x"} {})", "column 12: "},
           {"{\"id\":\"\xFF\"}", "column 8: the text is not UTF-8"},
           {R"({"id":"x","id":"y"})", "column 11: key \"id\" is there twice in one object"}}) {
    EXPECT_THAT(Parse(fmt::format("{}\n\n{}\n", good, line)).status().message(),
                StartsWith(fmt::format("r.jsonl: line 3, {}", place)));
  }
}

TEST(Requests, RefusesALineThatIsNoRequest) {
  ExpectRefused({
      {"[1]", "must be an object, but is an array"},
      {R"({"prompt":"a","max_new_tokens":1})", "id: is missing"},
      {R"({"id":3,"prompt":"a","max_new_tokens":1})", "id: must be a string, but is 3"},
      {R"({"id":"","prompt":"a","max_new_tokens":1})", "id: must not be empty"},
      {R"({"id":"a/b","prompt":"a","max_new_tokens":1})", "id: \"a/b\" holds a '/' or a zero byte"},
      {R"({"id":"a\u0000b","prompt":"a","max_new_tokens":1})",
       "id: \"a\\u0000b\" holds a '/' or a zero byte"},
      {R"({"id":"good","prompt":"a","max_new_tokens":1})", "id: \"good\" was used before"},
      {R"({"id":"x","max_new_tokens":1})", "has neither \"prompt\" nor \"input_ids\""},
      {R"({"id":"x","prompt":null,"max_new_tokens":1})",
       "has neither \"prompt\" nor \"input_ids\""},
      {R"({"id":"x","prompt":"a","input_ids":[1],"max_new_tokens":1})",
       "has both \"prompt\" and \"input_ids\""},
      {R"({"id":"x","prompt":7,"max_new_tokens":1})", "prompt: must be a string, but is 7"},
      {R"({"id":"x","prompt":"","max_new_tokens":1})",
       "prompt: has no tokens, so there is nothing to prefill"},
      {R"({"id":"x","input_ids":[],"max_new_tokens":1})",
       "input_ids: is empty, so there is nothing to prefill"},
      {R"({"id":"x","input_ids":7,"max_new_tokens":1})", "input_ids: must be an array, but is 7"},
      {R"({"id":"x","input_ids":[1,-1],"max_new_tokens":1})",
       "input_ids[1]: must be an integer from 0 to 4095, but is -1"},
      {R"({"id":"x","input_ids":[4096],"max_new_tokens":1})",
       "input_ids[0]: must be an integer from 0 to 4095, but is 4096"},
      {R"({"id":"x","input_ids":[1.5],"max_new_tokens":1})",
       "input_ids[0]: must be an integer from 0 to 4095, but is 1.5"},
      {R"({"id":"x","input_ids":[true],"max_new_tokens":1})",
       "input_ids[0]: must be an integer from 0 to 4095, but is true"},
  });
}

TEST(Requests, RefusesALengthThatCannotBeAndKeysThatAreNotBuilt) {
  ExpectRefused({
      {R"({"id":"x","prompt":"a"})", "max_new_tokens: is missing"},
      {R"({"id":"x","prompt":"a","max_new_tokens":null})",
       "max_new_tokens: must be an integer from 1 to"},
      {R"({"id":"x","prompt":"a","max_new_tokens":0})",
       "max_new_tokens: must be an integer from 1 to"},
      {R"({"id":"x","prompt":"a","max_new_tokens":2.0})",
       "max_new_tokens: must be an integer from 1 to"},
      {R"({"id":"x","prompt":"a","max_new_tokens":"2"})",
       "max_new_tokens: must be an integer from 1 to"},
      {R"({"id":"x","prompt":"a","max_new_tokens":64})",
       "1 input tokens and 64 new ones are more than the context of 64"},
      {R"({"id":"x","prompt":"a","max_new_tokens":9223372036854775807})",
       "1 input tokens and 9223372036854775807 new ones are more than the context of 64"},
      {fmt::format(R"({{"id":"x","prompt":"{}","max_new_tokens":1}})", std::string(65, '\'')),
       "65 input tokens and 1 new ones are more than the context of 64"},
      {R"({"id":"x","prompt":"a","max_new_tokens":1,"ignore_eos":1})",
       "ignore_eos: must be true or false, but is 1"},
      {R"({"id":"x","prompt":"a","max_new_tokens":1,"temperature":0.7})",
       "\"temperature\" is not supported yet: decoding is greedy"},
      {R"({"id":"x","prompt":"a","max_new_tokens":1,"top_p":1})",
       "\"top_p\" is not supported yet: decoding is greedy"},
  });
}

TEST(Requests, RefusesAFileWithoutARequest) {
  for (const std::string text : {"", "\n", " \r\n\t\n"}) {
    EXPECT_EQ(Parse(text).status(), InvalidArgument("r.jsonl: holds no request"));
  }
}

TEST(Requests, RefusesAPromptWhoseTokensTheModelLacks) {
  const auto requests = ParseRequests(R"({"id":"x","prompt":"a","max_new_tokens":1})", "r.jsonl",
                                      Qwen(), {.vocab_size = 64, .max_context = 8});
  EXPECT_EQ(requests.status(),
            InvalidArgument("r.jsonl: line 1: prompt: has token 64, but the model's vocabulary has "
                            "64 tokens"));
}

TEST(Requests, NamesAFileThatIsMissing) {
  const TempFolder folder;
  const std::string path = (folder.path() / "missing.jsonl").string();
  const auto requests = ReadRequests(path, Qwen(), kLimits);
  EXPECT_EQ(requests.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(requests.status().message(), StartsWith(path));
}

TEST(Requests, TheDemoRequestsAreGood) {
  const auto requests = ReadRequests(STEELYARD_SOURCE_DIR "/models/demo_requests.jsonl", Qwen(),
                                     {.vocab_size = 4096, .max_context = 4096});
  ASSERT_TRUE(requests.ok()) << requests.status().message();
  EXPECT_EQ(requests->size(), 600U);
  for (const Request& request : *requests) {
    EXPECT_GE(request.input_ids.size(), 20U) << request.id;
    EXPECT_LE(request.input_ids.size(), 150U) << request.id;
  }
}

TEST(Requests, NoDamagedFileBreaksTheReader) {
  const std::string good = R"({"id":"a","prompt":"some text","max_new_tokens":3})"
                           "\n"
                           R"({"id":"b","input_ids":[1,2,3],"max_new_tokens":1,"ignore_eos":true})";
  int num_read = 0;
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string damaged = good.substr(0, seed % 3 == 0 ? random() % good.size() : good.size());
    if (!damaged.empty()) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto requests = Parse(damaged);
    if (requests.ok()) {
      ++num_read;
      for (const Request& request : *requests) {
        EXPECT_FALSE(request.input_ids.empty()) << "seed " << seed;
        EXPECT_LE(static_cast<int64_t>(request.input_ids.size()) + request.max_new_tokens,
                  kLimits.max_context)
            << "seed " << seed;
      }
    } else {
      EXPECT_THAT(requests.status().message(), StartsWith("r.jsonl: ")) << "seed " << seed;
    }
  }
  EXPECT_GT(num_read, 0);
}

}  // namespace
}  // namespace steelyard
