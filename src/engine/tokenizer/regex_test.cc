#include "engine/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/tokenizer/regex_dialect.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> FindAll(std::string_view pattern, std::string_view text,
                                 Regex::Kind kind = Regex::Kind::kPattern) {
  const auto regex = Regex::Compile(pattern, kind);
  EXPECT_TRUE(regex.ok()) << regex.status().message();
  RegexScratch scratch;
  const auto ranges = regex->FindAll(text, &scratch);
  EXPECT_TRUE(ranges.ok()) << ranges.status().message();
  std::vector<std::string> found;
  for (const TextRange& range : *ranges) {
    found.emplace_back(text.substr(range.begin, range.end - range.begin));
  }
  return found;
}

TEST(Regex, FindsMatchesFromLeftToRight) {
  EXPECT_THAT(FindAll("\\p{L}+|\\p{N}", "ab12 \xE4\xB8\xAD\xC3\xA9"),
              ElementsAre("ab", "1", "2", "\xE4\xB8\xAD\xC3\xA9"));
  EXPECT_THAT(FindAll("(?i:'s)", "'s 'S '\xC5\xBF"), ElementsAre("'s", "'S", "'\xC5\xBF"));
  EXPECT_THAT(FindAll("x", "abc"), IsEmpty());
  EXPECT_THAT(FindAll("x", ""), IsEmpty());
}

TEST(Regex, EmptyMatchesStepOverWholeCharacters) {
  EXPECT_THAT(FindAll("x*", "ax\xE4\xB8\xAD"), ElementsAre("", "x", ""));
}

TEST(Regex, ALiteralHasNoSpecialCharacters) {
  EXPECT_THAT(FindAll("a.", "axa.", Regex::Kind::kLiteral), ElementsAre("a."));
  EXPECT_THAT(FindAll("\\s", "\\s ", Regex::Kind::kLiteral), ElementsAre("\\s"));
}

TEST(Regex, WhiteSpaceIsWhatUnicodeSaysItIs) {
  const std::string spaces =
      "\t\n\v\f\r \xC2\x85\xC2\xA0\xE1\x9A\x80\xE2\x80\x80\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAF"
      "\xE2\x81\x9F\xE3\x80\x80";
  EXPECT_THAT(FindAll("\\s+", spaces), ElementsAre(spaces));
  EXPECT_THAT(FindAll("[^\\S]+", spaces), ElementsAre(spaces));
  const std::string not_spaces = "\xE1\xA0\x8E\xE2\x80\x8B\xEF\xBB\xBF";  // U+180E, U+200B, U+FEFF
  EXPECT_THAT(FindAll("\\s", not_spaces), IsEmpty());
  EXPECT_THAT(FindAll("[^\\s]+", not_spaces), ElementsAre(not_spaces));
}

TEST(Regex, AMatchThatTakesTooMuchIsAnError) {
  const auto regex = Regex::Compile("(?:a+)+(?:a+)+(?:a+)+b");
  ASSERT_TRUE(regex.ok()) << regex.status().message();
  RegexScratch scratch;
  const auto found = regex->FindAll(std::string(200, 'a') + "cb", &scratch);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.status().message(), HasSubstr("a pattern cannot be matched: match limit"));
}

TEST(Regex, RefusesPatternsThatAreBrokenOrTooLong) {
  for (const auto& [pattern, message] : std::vector<std::pair<std::string, std::string>>{
           {"(a", "bad pattern: missing closing parenthesis"},
           {"[a", "bad pattern: missing terminating ]"},
           {"*a", "bad pattern: quantifier does not follow a repeatable item"},
           {"\\p{NoSuch}", "bad pattern: unknown property"},
           {"\\p{L", "bad pattern: "},
           {"(?<=a+)b", "bad pattern: lookbehind assertion is not fixed length"},
           {std::string(70'000, 'a'), "a pattern of 70000 bytes is longer than the 65536 allowed"},
           {std::string(1000, '(') + std::string(1000, ')'), "bad pattern: parentheses are too"}}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern.substr(0, 40);
    EXPECT_THAT(regex.status().message(), HasSubstr(message));
  }
}

TEST(RegexDialect, KeepsWhatBothEnginesReadAlike) {
  for (const std::string pattern :
       {R"(\p{N}{1,3})", R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|\x{4E2D}[^\r\n\p{L}]?)",
        R"((?:a|(b))(?=c)(?!d)(?<=e)(?<!f)(?>g)(?i:h)++)", R"(\p{L}+ ?\P{N}+)"}) {
    EXPECT_EQ(ToPcre2Pattern(pattern).value(), pattern);
  }
  EXPECT_EQ(ToPcre2Pattern(R"(\s+(?!\S)|\\s)").value(),
            R"(\p{White_Space}+(?!\P{White_Space})|\\s)");
}

TEST(RegexDialect, RefusesWhatTheEnginesReadDifferently) {
  for (const auto& [pattern, part] :
       std::vector<std::pair<std::string, std::string>>{{"\\w+", "\"\\\\w\""},
                                                        {"[\\h]", "\"\\\\h\""},
                                                        {"a\\b", "\"\\\\b\""},
                                                        {"(a)\\1", "\"\\\\1\""},
                                                        {"\\Qa\\E", "\"\\\\Q\""},
                                                        {"\\", "\"\\\\\""},
                                                        {"^a", "\"^\""},
                                                        {"a$", "\"$\""},
                                                        {"[a[bc]]", "\"[\""},
                                                        {"[[:alpha:]]", "\"[\""},
                                                        {"[a&&b]", "\"&&\""},
                                                        {"[]a]", "\"[]\""},
                                                        {"[^]a]", "\"[]\""},
                                                        {"(?i)a", "\"(?i\""},
                                                        {"(?m:a)", "\"(?m\""},
                                                        {"(?<name>a)", "\"(?<\""},
                                                        {"(*FAIL)", "\"(*F\""},
                                                        {"a{1,3}+", "\"}+\""}}) {
    const auto translated = ToPcre2Pattern(pattern);
    ASSERT_FALSE(translated.ok()) << pattern;
    EXPECT_THAT(translated.status().message(), HasSubstr(part + " in a pattern is not supported"));
  }
}

}  // namespace
}  // namespace steelyard
