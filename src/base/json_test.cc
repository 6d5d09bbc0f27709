#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/test_scale.h"

namespace steelyard {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(ParseJson, ReadsEveryKindOfValue) {
  const Result<Json> json = ParseJson(R"({"a":[1,-2,3.5,true,null],"b":{"c":"\u00e9 é"}})", "x");
  ASSERT_TRUE(json.ok()) << json.status().ToString();
  EXPECT_EQ((*json)["a"][1], -2);
  EXPECT_EQ((*json)["a"][2], 3.5);
  EXPECT_TRUE((*json)["a"][4].is_null());
  EXPECT_EQ((*json)["b"]["c"], "é é");
}

std::string Nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

TEST(ParseJson, AZeroByteIsNotTheEnd) {
  using namespace std::string_view_literals;
  EXPECT_EQ(ParseJson("0\0{\"l\": \"{ 2"sv, "x").status(),
            InvalidArgument("x: line 1, column 2: a zero byte"));
  EXPECT_EQ(ParseJson("[1]\0"sv, "x").status(),
            InvalidArgument("x: line 1, column 4: a zero byte"));
}

TEST(ParseJson, SixtyFourLevelsAreTheMost) {
  EXPECT_TRUE(ParseJson(Nested(64), "x").ok());
  EXPECT_EQ(ParseJson(Nested(65), "deep.json").status(),
            InvalidArgument("deep.json: line 1, column 65: nested deeper than 64 levels"));
  EXPECT_THAT(ParseJson(std::string(1000000, '['), "x").status().message(),
              HasSubstr("nested deeper than 64 levels"));
}

TEST(ParseJson, BracketsInsideAStringAreNoLevels) {
  const std::string brackets(100, '[');
  EXPECT_TRUE(ParseJson("[\"" + brackets + "\\\"" + brackets + "\"]", "x").ok());
}

struct Refusal {
  std::string text;
  std::string message;
};

TEST(ParseJson, RefusesWithSourcePlaceAndReason) {
  const std::vector<Refusal> refusals = {
      {"", "in.json: line 1, column 1: syntax error while parsing value - unexpected end of input"},
      {"{\n  \"a\": 1,\n  b: 2\n}",
       "in.json: line 3, column 3: syntax error while parsing object key - invalid literal"},
      {"[1, 2", "in.json: line 1, column 6: syntax error while parsing array - unexpected end"},
      {"{} x", "in.json: line 1, column 4: syntax error while parsing value - invalid literal"},
      {"{}\n{}", "in.json: line 2, column 1: syntax error while parsing value - unexpected '{'"},
      {"[1,]", "in.json: line 1, column 4: syntax error while parsing value - unexpected ']'"},
      {"[NaN]", "in.json: line 1, column 2: syntax error while parsing value - invalid literal"},
      {"[\n1e999]", "in.json: line 2, column 5: number overflow parsing '1e999'"},
      {"[\"a\nb\"]",
       "in.json: line 1, column 4: syntax error while parsing value - invalid string"},
      {"[\"\\ud800\"]", "in.json: line 1, column 9: syntax error while parsing value - invalid"},
      {"[\"\xff\"]", "in.json: line 1, column 3: the text is not UTF-8"},
      {"[\"\xed\xa0\x80\"]", "in.json: line 1, column 3: the text is not UTF-8"},  // a surrogate
      {"[\"\xc0\x80\"]", "in.json: line 1, column 3: the text is not UTF-8"},      // overlong
      {"[\"\xf4\x90\x80\x80\"]", "in.json: line 1, column 3: the text is not UTF-8"},
      {"[\"\xe2\x82", "in.json: line 1, column 3: the text is not UTF-8"},  // cut short
      {"[\n\n \xff", "in.json: line 3, column 2: the text is not UTF-8"},
      {"é", "in.json: line 1, column 1: syntax error while parsing value - invalid literal"},
  };
  for (const Refusal& refusal : refusals) {
    const Result<Json> json = ParseJson(refusal.text, "in.json");
    EXPECT_EQ(json.status().code(), StatusCode::kInvalidArgument) << refusal.text;
    EXPECT_THAT(json.status().message(), StartsWith(refusal.message)) << refusal.text;
  }
}

TEST(ParseJson, RefusesAKeyThatAnObjectHasTwice) {
  EXPECT_EQ(ParseJson("{\"a\": 1,\n \"b\": {\"c\": 1, \"\\u0063\" : 2}}", "in.json").status(),
            InvalidArgument("in.json: line 2, column 16: key \"\\u0063\" is there twice in one "
                            "object"));
  EXPECT_EQ(ParseJson(R"([{"":[], "":{}}])", "x").status(),
            InvalidArgument("x: line 1, column 10: key \"\" is there twice in one object"));
  EXPECT_TRUE(
      ParseJson(R"({"a":{"a":"a"},"b":[{"a":":\"a\":"},{"a":2}],"\"a":3,"\\":4})", "x").ok());
}

// Whatever is done to a text, the answer is a value or one printable line that is not much longer
// than it needs to be.
TEST(ParseJson, AnyDamageEndsInAValueOrOneShortLine) {
  const std::string good =
      R"({"name":"é\n","list":[[1,2.5e3,-7],[true,false,null]],"o":{"k":"v"}})";
  int num_refused = 0;
  const int num_seeds = Scaled(5000);
  for (int seed = 0; seed < num_seeds; ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string text = good;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          text.resize(at + 1);
      }
    }
    const Result<Json> json = ParseJson(text, "s");
    if (json.ok()) {
      continue;
    }
    ++num_refused;
    const std::string& message = json.status().message();
    EXPECT_THAT(message, StartsWith("s: line ")) << "seed " << seed;
    EXPECT_LT(message.size(), 300U) << "seed " << seed;
    for (const char c : message) {
      ASSERT_TRUE(c >= 0x20 && c < 0x7F) << "seed " << seed << ": " << message;
    }
  }
  EXPECT_GT(num_refused, num_seeds / 2);
}

TEST(ParseJson, AnEndlessTokenIsNotQuotedWhole) {
  const Result<Json> json = ParseJson("\"" + std::string(100000, 'a'), "s");
  EXPECT_THAT(json.status().message(), HasSubstr("missing closing quote"));
  EXPECT_LT(json.status().message().size(), 300U);
}

TEST(ReadJsonFile, NamesTheFile) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "json_test.json";
  ASSERT_TRUE(WriteFileAtomically(path, "{\"a\": }").ok());
  EXPECT_THAT(ReadJsonFile(path).status().message(),
              StartsWith(path.string() + ": line 1, column 7: syntax error"));
  ASSERT_TRUE(WriteFileAtomically(path, "{\"a\": 3}").ok());
  EXPECT_EQ(ReadJsonFile(path).value()["a"], 3);
  std::filesystem::remove(path);
  EXPECT_EQ(ReadJsonFile(path).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace steelyard
