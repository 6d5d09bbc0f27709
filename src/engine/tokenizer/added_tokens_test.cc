#include "engine/tokenizer/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/tokenizer/tokenizer_samples.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Find(const TokenFinder& finder, std::string_view text) {
  std::vector<std::string> parts;
  for (const TokenFinder::Part& part : finder.Find(text)) {
    parts.push_back(part.id < 0 ? std::string(part.text)
                                : std::string(part.text) + "=" + std::to_string(part.id));
  }
  return parts;
}

TEST(TokenFinder, TakesTheLeftmostAndOfThoseTheLongest) {
  TokenFinder finder;
  finder.Add("<a>", 1);
  finder.Add("<a><b>", 2);
  finder.Add("<b><c><d>", 3);
  finder.Add("x", 4);
  EXPECT_THAT(Find(finder, "plain"), ElementsAre("plain"));
  EXPECT_THAT(Find(finder, ""), IsEmpty());
  EXPECT_THAT(Find(finder, "1<a>2"), ElementsAre("1", "<a>=1", "2"));
  EXPECT_THAT(Find(finder, "<a><b><c><d>"), ElementsAre("<a><b>=2", "<c><d>"));
  EXPECT_THAT(Find(finder, "<a><c>xx"), ElementsAre("<a>=1", "<c>", "x=4", "x=4"));
  EXPECT_THAT(Find(finder, "<a"), ElementsAre("<a"));
}

Result<AddedTokens> Parse(const Json& json) {
  static const Json model = SmallModel();
  const auto vocabulary = Vocabulary::Parse(JsonField(model["vocab"], "t.json", "vocab"));
  return AddedTokens::Parse(JsonField(json, "t.json", "added_tokens"), *vocabulary,
                            Normalizer::Parse(std::nullopt).value());
}

Json With(const std::string& key, const Json& value) {
  Json token = AddedTokenJson(300, "<x>");
  token[key] = value;
  return Json::array({token});
}

TEST(AddedTokens, AreLookedForInTheTextThatTheyName) {
  const auto added =
      Parse(Json::array({AddedTokenJson(300, "<raw>"), AddedTokenJson(301, "<norm>", false, true),
                         AddedTokenJson(256, "ab")}));
  ASSERT_TRUE(added.ok()) << added.status().message();
  ASSERT_EQ(added->tokens().size(), 3U);
  EXPECT_TRUE(added->tokens()[0].special);
  EXPECT_FALSE(added->tokens()[1].special);
  EXPECT_THAT(Find(added->in_raw_text(), "<raw><norm>"), ElementsAre("<raw>=300", "<norm>"));
  EXPECT_THAT(Find(added->in_normalized_text(), "<raw><norm>"), ElementsAre("<raw>", "<norm>=301"));
}

TEST(AddedTokens, RefusesWhatContradictsItselfOrIsNotBuilt) {
  const std::string first = "t.json: added_tokens[0]";
  struct Row {
    Json json;
    std::string message;
  };
  const Row rows[] = {
      {3, "t.json: added_tokens: must be an array, but is 3"},
      {Json::array({1}), first + ": must be an object, but is 1"},
      {With("content", ""), first + ".content: must not be empty"},
      {With("content", 1), first + ".content: must be a string, but is 1"},
      {With("id", -1), first + ".id: must be an integer from 0 to 4194303, but is -1"},
      {With("id", 1 << 22), first + ".id: must be an integer from 0 to 4194303, but is 4194304"},
      {With("id", 97), first + ".id: 97 is the id of \"a\" in the vocabulary"},
      {With("content", "ab"), first + ".id: \"ab\" has id 256 in the vocabulary, not 300"},
      {With("lstrip", true), first + ".lstrip: true is not supported"},
      {With("rstrip", true), first + ".rstrip: true is not supported"},
      {With("single_word", true), first + ".single_word: true is not supported"},
      {With("special", "yes"), first + ".special: must be true or false, but is \"yes\""},
      {Json::array({AddedTokenJson(300, "<x>"), AddedTokenJson(300, "<y>")}),
       "t.json: added_tokens[1].id: 300 is given twice"},
      {Json::array({AddedTokenJson(300, "<x>"), AddedTokenJson(301, "<x>")}),
       "t.json: added_tokens[1].content: \"<x>\" is given twice"},
  };
  for (const Row& row : rows) {
    const auto added = Parse(row.json);
    ASSERT_FALSE(added.ok()) << row.json.dump();
    EXPECT_EQ(added.status().message(), row.message);
  }
}

}  // namespace
}  // namespace steelyard
