#include "engine/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/tokenizer/tokenizer_samples.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<PreTokenizer> Parse(const Json& json) {
  return PreTokenizer::Parse(JsonField(json, "t.json", "pre_tokenizer"));
}

std::vector<std::string> Cut(const Json& json, std::string_view text) {
  const auto pre_tokenizer = Parse(json);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status().message();
  RegexScratch scratch;
  Words words;
  const Status status = pre_tokenizer->Cut(text, &scratch, &words);
  EXPECT_TRUE(status.ok()) << status.message();
  return {words.words.begin(), words.words.end()};
}

Json Split(const Json& pattern, const std::string& behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

Json Sequence(std::vector<Json> steps) {
  steps.push_back(ByteLevel(false));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

Json AtDashes(const std::string& behavior, bool invert = false) {
  return Sequence({Split({{"String", "-"}}, behavior, invert)});
}

TEST(PreTokenizer, EachBehaviorCutsAsItsNameSays) {
  // The answers of Hugging Face tokenizers, whose documentation has this example.
  const std::string text = "the-final--countdown";
  EXPECT_THAT(Cut(AtDashes("Removed"), text), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Cut(AtDashes("Isolated"), text),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Cut(AtDashes("MergedWithPrevious"), text),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Cut(AtDashes("MergedWithNext"), text),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Cut(AtDashes("Contiguous"), text),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(PreTokenizer, InvertSwapsMatchesAndTheRest) {
  EXPECT_THAT(Cut(AtDashes("Removed", true), "a-b--"), ElementsAre("-", "-", "-"));
  EXPECT_THAT(Cut(AtDashes("Isolated", true), "a-b"), ElementsAre("a", "-", "b"));
}

TEST(PreTokenizer, SplitsOfASequenceCutThePiecesOfTheOneBefore) {
  const Json json = Sequence(
      {Split({{"Regex", "\\p{N}{1,3}"}}, "Isolated"), Split({{"Regex", " ?\\p{L}+"}}, "Isolated")});
  EXPECT_THAT(Cut(json, "ab 1234 cd"), ElementsAre("ab", " ", "123", "4", " cd"));
  EXPECT_THAT(Cut(json, ""), IsEmpty());
}

TEST(PreTokenizer, ByteLevelCutsByItsOwnPatternWhenAsked) {
  EXPECT_THAT(Cut(ByteLevel(true), "I've 12  x!\n"),
              ElementsAre("I", "'ve", " 12", " ", " x", "!", "\n"));
  EXPECT_THAT(Cut(ByteLevel(false), "I've 12"), ElementsAre("I've 12"));
}

TEST(PreTokenizer, APrefixSpaceIsPutBeforeEveryPieceThatHasNone) {
  Json json = AtDashes("Isolated");
  json["pretokenizers"][1]["add_prefix_space"] = true;
  EXPECT_THAT(Cut(json, "a- b"), ElementsAre(" a", " -", " b"));
  json["pretokenizers"][1].erase("add_prefix_space");  // true is its default
  EXPECT_THAT(Cut(json, "a"), ElementsAre(" a"));
}

TEST(PreTokenizer, RefusesWhatItDoesNotKnow) {
  struct Row {
    Json json;
    std::string message;
  };
  const Row rows[] = {
      {3, "t.json: pre_tokenizer: must be an object, but is 3"},
      {Json::object(), "t.json: pre_tokenizer.type: is missing"},
      {{{"type", "Metaspace"}},
       "t.json: pre_tokenizer.type: pre-tokenizer \"Metaspace\" is not supported; supported: "
       "Sequence, Split, ByteLevel"},
      {{{"type", 3}}, "t.json: pre_tokenizer.type: must be a string, but is 3"},
      {Split({{"String", "-"}}, "Isolated"),
       "t.json: pre_tokenizer: has no ByteLevel; only byte-level BPE is supported"},
      {{{"type", "Sequence"}, {"pretokenizers", {ByteLevel(false), ByteLevel(false)}}},
       "t.json: pre_tokenizer.pretokenizers[1]: stands after ByteLevel, which must be the last"},
      {Sequence({Split({{"Regex", "(a"}}, "Isolated")}),
       "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex: bad pattern: missing closing"},
      {Sequence({Split({{"Regex", "\\w"}}, "Isolated")}),
       "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex: \"\\\\w\" in a pattern is not"},
      {Sequence({Split({{"Regex", ""}}, "Isolated")}),
       "t.json: pre_tokenizer.pretokenizers[0].pattern.Regex: must not be empty"},
      {Sequence({Split({{"Glob", "*"}}, "Isolated")}),
       "t.json: pre_tokenizer.pretokenizers[0].pattern: must have either Regex or String"},
      {Sequence({Split({{"String", "-"}}, "Shuffled")}),
       "t.json: pre_tokenizer.pretokenizers[0].behavior: \"Shuffled\" is not supported"},
      {{{"type", "ByteLevel"}, {"use_regex", 1}},
       "t.json: pre_tokenizer.use_regex: must be true or false, but is 1"},
  };
  for (const Row& row : rows) {
    const auto pre_tokenizer = Parse(row.json);
    ASSERT_FALSE(pre_tokenizer.ok()) << row.json.dump();
    EXPECT_THAT(pre_tokenizer.status().message(), HasSubstr(row.message));
  }
}

TEST(PreTokenizer, APatternThatTakesTooLongIsAnErrorOfTheText) {
  const auto pre_tokenizer =
      Parse(Sequence({Split({{"Regex", "(?:a+)+(?:a+)+(?:a+)+b"}}, "Isolated")}));
  ASSERT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status().message();
  RegexScratch scratch;
  Words words;
  EXPECT_THAT(pre_tokenizer->Cut(std::string(200, 'a') + "cb", &scratch, &words).message(),
              HasSubstr("a pattern cannot be matched"));
}

}  // namespace
}  // namespace steelyard
