#include "engine/tokenizer/bpe.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/test_scale.h"
#include "engine/tokenizer/tokenizer_samples.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;

Result<Bpe> Parse(const Json& json) { return Bpe::Parse(JsonField(json, "t.json", "model")); }

std::vector<int32_t> Encode(const Bpe& bpe, std::string_view word) {
  std::vector<int32_t> ids;
  const Status status = bpe.Encode(word, &ids);
  EXPECT_TRUE(status.ok()) << status.message();
  return ids;
}

TEST(Bpe, MergesTheFirstRuleFirstAndTheLeftmostPair) {
  const auto bpe = Parse(SmallModel());
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, ""), ElementsAre());
  EXPECT_THAT(Encode(*bpe, "x"), ElementsAre('x'));
  EXPECT_THAT(Encode(*bpe, "abc"), ElementsAre(258));  // ab, then abc; never bc
  EXPECT_THAT(Encode(*bpe, "bcab"), ElementsAre(257, 256));
  EXPECT_THAT(Encode(*bpe, "aaa"), ElementsAre(259, 'a'));
  EXPECT_THAT(Encode(*bpe, "aaaaaab"), ElementsAre(260, 'a', 256));
  EXPECT_THAT(Encode(*bpe, "abc"), ElementsAre(258));  // from the cache
  EXPECT_THAT(Encode(*bpe, std::string("\0\xFF ", 3)), ElementsAre(0, 255, ' '));
}

TEST(Bpe, ReadsMergesOfBothForms) {
  Json json = SmallModel();
  json["merges"] = {"a b", "ab c"};
  const auto bpe = Parse(json);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, "abc"), ElementsAre(258));
}

TEST(Bpe, IgnoreMergesTakesWordsThatAreTokensWhole) {
  Json json = SmallModel();
  json["vocab"]["\xC4\xA0zz"] = 261;  // " zz", which no merge makes
  json["ignore_merges"] = true;
  const auto bpe = Parse(json);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  EXPECT_THAT(Encode(*bpe, " zz"), ElementsAre(261));
  EXPECT_THAT(Encode(*bpe, " zzz"), ElementsAre(' ', 'z', 'z', 'z'));
  EXPECT_THAT(Encode(*bpe, "bc"), ElementsAre(257));
}

TEST(Bpe, AByteWithoutATokenIsAnError) {
  Json json = SmallModel();
  json["vocab"].erase("x");
  const auto bpe = Parse(json);
  ASSERT_TRUE(bpe.ok()) << bpe.status().message();
  std::vector<int32_t> ids;
  EXPECT_EQ(bpe->Encode("axa", &ids),
            InvalidArgument("the tokenizer's vocabulary has no token for byte 0x78"));
}

TEST(Bpe, RefusesBadModelsByFilePlaceAndRule) {
  struct Row {
    std::string pointer;  // what of the good model is replaced
    Json value;
    std::string message;
  };
  const Row rows[] = {
      {"/type", "WordPiece", "type: \"WordPiece\" is not supported; supported: BPE"},
      {"/dropout", 0.1, "dropout: must be null; it is not supported"},
      {"/unk_token", "<unk>", "unk_token: must be null; it is not supported"},
      {"/continuing_subword_prefix", "##",
       "continuing_subword_prefix: must be null or empty; it is not supported"},
      {"/end_of_word_suffix", "</w>",
       "end_of_word_suffix: must be null or empty; it is not supported"},
      {"/byte_fallback", true, "byte_fallback: true is not supported"},
      {"/byte_fallback", 1, "byte_fallback: must be true or false, but is 1"},
      {"/ignore_merges", 1, "ignore_merges: must be true or false, but is 1"},
      {"/vocab", Json::array(), "vocab: must be an object, but is an array"},
      {"/vocab/a", 98, "vocab.b: id 98 is that of \"a\" already"},
      {"/vocab/a", -1, "vocab.a: must be an integer from 0 to 4194303, but is -1"},
      {"/vocab/a", 1 << 22, "vocab.a: must be an integer from 0 to 4194303, but is 4194304"},
      {"/vocab/a", "97", "vocab.a: must be an integer from 0 to 4194303, but is \"97\""},
      {"/merges", 3, "merges: must be an array, but is 3"},
      {"/merges/1", Json::array({"b", "zz"}), "merges[1]: \"zz\" is not in the vocabulary"},
      {"/merges/1", Json::array({"zz", "b"}), "merges[1]: \"zz\" is not in the vocabulary"},
      {"/merges/1", Json::array({"b", "b"}), "merges[1]: \"bb\" is not in the vocabulary"},
      {"/merges/1", Json::array({"b"}), "merges[1]: must be two tokens, but has 1 entries"},
      {"/merges/1", Json::array({"b", 3}), "merges[1][1]: must be a string, but is 3"},
      {"/merges/1", "bc", "merges[1]: \"bc\" is not two tokens with a space between"},
      {"/merges/1", "a b c", "merges[1]: \"a b c\" is not two tokens with a space between"},
      {"/merges/1", 7, "merges[1]: must be an array, but is 7"},
  };
  for (const Row& row : rows) {
    Json json = SmallModel();
    json[Json::json_pointer(row.pointer)] = row.value;
    const auto bpe = Parse(json);
    ASSERT_FALSE(bpe.ok()) << row.message;
    EXPECT_EQ(bpe.status().message(), "t.json: model." + row.message);
  }
  for (const char* key : {"type", "vocab", "merges"}) {
    Json json = SmallModel();
    json.erase(key);
    EXPECT_EQ(Parse(json).status().message(), fmt::format("t.json: model.{}: is missing", key));
  }
}

// The rule of the header, word for word: look at all pairs, merge one, start again.
std::vector<int32_t> EncodeSlowly(const Json& model, std::string_view word) {
  std::vector<std::string> parts;
  for (const char c : word) {
    parts.emplace_back(1, c);
  }
  for (;;) {
    size_t best_at = parts.size();
    size_t best_rank = model["merges"].size();
    for (size_t at = 0; at + 1 < parts.size(); ++at) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (model["merges"][rank][0] == parts[at] && model["merges"][rank][1] == parts[at + 1]) {
          best_rank = rank;
          best_at = at;
        }
      }
    }
    if (best_at == parts.size()) {
      break;
    }
    parts[best_at] += parts[best_at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) {
    ids.push_back(model["vocab"][part].get<int32_t>());
  }
  return ids;
}

TEST(Bpe, RandomRulesGiveWhatTheDefinitionGives) {
  for (int seed = 0; seed < Scaled(100); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    Json model = SmallModel();
    model["merges"] = Json::array();
    std::vector<std::string> tokens = {"a", "b", "c"};
    for (int rank = 0; rank < 12; ++rank) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      const Json merge = Json::array({left, right});
      if (left.size() + right.size() > 8 ||
          std::find(model["merges"].begin(), model["merges"].end(), merge) !=
              model["merges"].end()) {
        continue;
      }
      model["merges"].push_back(merge);
      if (!model["vocab"].contains(left + right)) {
        model["vocab"][left + right] = 300 + rank;
        tokens.push_back(left + right);
      }
    }
    const auto bpe = Parse(model);
    ASSERT_TRUE(bpe.ok()) << bpe.status().message();
    for (int i = 0; i < 10; ++i) {
      std::string word(random() % 30, 'a');
      for (char& c : word) {
        c = static_cast<char>('a' + random() % 3);
      }
      ASSERT_EQ(Encode(*bpe, word), EncodeSlowly(model, word)) << "seed " << seed << " " << word;
    }
  }
}

TEST(Bpe, ALongWordTakesNoTimeToSpeakOf) {
  const auto bpe = Parse(SmallModel());
  const std::string word(1 << 20, 'a');  // quadratic merging would take minutes
  const std::vector<int32_t> ids = Encode(*bpe, word);
  EXPECT_EQ(ids, std::vector<int32_t>(word.size() / 4, 260));
}

}  // namespace
}  // namespace steelyard
