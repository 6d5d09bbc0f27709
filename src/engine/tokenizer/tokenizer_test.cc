#include "engine/tokenizer/tokenizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "base/file.h"
#include "base/test_scale.h"
#include "engine/checkpoint/test_files.h"
#include "engine/tokenizer/tokenizer_samples.h"
#include "engine/tokenizer/utf8.h"

namespace steelyard {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

// The small tokenizer with some of its members replaced.
Result<Tokenizer> Parse(const Json& changes) {
  Json json = SmallTokenizer();
  json.update(changes);
  return Tokenizer::Parse(json, "t.json");
}

Tokenizer MustParse(const Json& changes) {
  auto tokenizer = Parse(changes);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(tokenizer).value();
}

std::vector<int32_t> Encode(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.Encode(text);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  return std::move(ids).value();
}

Json Template(const Json& single) {
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {300}}, {"tokens", {"<s>"}}}}}}};
}

const Json kText = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
const Json kStart = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};

TEST(Tokenizer, CutsMergesAndPutsTogether) {
  const Tokenizer tokenizer = MustParse(Json::object());
  EXPECT_EQ(tokenizer.num_ids(), 261);
  EXPECT_THAT(Encode(tokenizer, "abc aab"), ElementsAre(258, ' ', 'a', 256));
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{258, ' ', 259}, false), "abc aa");
}

TEST(Tokenizer, AddedTokensAreFoundBeforeAnythingElseAndSpecialOnesMayBeLeftOut) {
  const Tokenizer tokenizer = MustParse(
      {{"added_tokens", {AddedTokenJson(300, "<s>"), AddedTokenJson(302, "b c", false)}}});
  EXPECT_EQ(tokenizer.num_ids(), 303);
  const std::vector<int32_t> ids = Encode(tokenizer, "a<s>ab c");
  EXPECT_THAT(ids, ElementsAre('a', 300, 'a', 302));
  EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/false), "a<s>ab c");
  EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/true), "aab c");
}

TEST(Tokenizer, IdsWithoutATokenDecodeToNothing) {
  const Tokenizer tokenizer = MustParse({{"added_tokens", {AddedTokenJson(300, "<s>")}}});
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{'a', -1, 299, 301, 1 << 30, 'b'}, false), "ab");
}

TEST(Tokenizer, BytesThatAreNoTextDecodeToReplacements) {
  const Tokenizer tokenizer = MustParse(Json::object());
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{'a', 0xE4, 0xB8, 'b', 0xE4, 0xB8, 0xAD}, false),
            "a\xEF\xBF\xBD"
            "b\xE4\xB8\xAD");
}

TEST(Tokenizer, NormalizesBetweenRawTokensAndFindsNormalizedOnesAfterThat) {
  const std::string decomposed = "e\xCC\x81";
  const Tokenizer tokenizer =
      MustParse({{"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}}},
                 {"added_tokens",
                  {AddedTokenJson(300, "<" + decomposed + ">", false, true),
                   AddedTokenJson(301, "[" + decomposed + "]", false, false)}}});
  EXPECT_THAT(Encode(tokenizer, decomposed), ElementsAre(0xC3, 0xA9));
  EXPECT_THAT(Encode(tokenizer, "<\xC3\xA9><" + decomposed + ">"), ElementsAre(300, 300));
  EXPECT_THAT(Encode(tokenizer, "[" + decomposed + "][\xC3\xA9]"),
              ElementsAre(301, '[', 0xC3, 0xA9, ']'));
}

TEST(Tokenizer, ThePostProcessorAddsItsTokensWhenAsked) {
  const Tokenizer around = MustParse({{"post_processor", Template({kStart, kText, kStart})}});
  EXPECT_THAT(Encode(around, "a"), ElementsAre(300, 'a', 300));
  EXPECT_THAT(around.Encode("a", /*add_special_tokens=*/false).value(), ElementsAre('a'));
  EXPECT_THAT(Encode(around, ""), ElementsAre(300, 300));
  const Json sequence = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}}, Template({kStart, kText}), Template(Json::array({kText}))}}};
  EXPECT_THAT(Encode(MustParse({{"post_processor", sequence}}), "a"), ElementsAre(300, 'a'));
}

// Its post-processor adds 300 before a text; 301 is the EOS.
Tokenizer WithBos() {
  return MustParse({{"added_tokens", {AddedTokenJson(300, "<s>"), AddedTokenJson(301, "</s>")}},
                    {"post_processor", Template({kStart, kText})}});
}

TEST(Tokenizer, TheConfigDecidesOfBosAndEos) {
  struct Row {
    const char* config;
    std::vector<int32_t> ids;
  };
  const Row rows[] = {
      {R"({})", {300, 'a'}},
      {R"({"add_bos_token": null, "bos_token": "</s>"})", {300, 'a'}},
      {R"({"add_bos_token": false, "bos_token": "<s>"})", {'a'}},
      {R"({"add_bos_token": true, "bos_token": "<s>", "add_eos_token": false})", {300, 'a'}},
      {R"({"add_bos_token": true, "bos_token": {"content": "ab", "lstrip": false}})", {256, 'a'}},
      {R"({"add_eos_token": true, "eos_token": "</s>"})", {300, 'a', 301}},
      {R"({"add_bos_token": false, "add_eos_token": true, "eos_token": "</s>"})", {'a', 301}},
  };
  for (const Row& row : rows) {
    Tokenizer tokenizer = WithBos();
    const Status configured = tokenizer.Configure(Json::parse(row.config), "c.json");
    ASSERT_TRUE(configured.ok()) << configured.message();
    EXPECT_EQ(Encode(tokenizer, "a"), row.ids) << row.config;
  }
}

TEST(Tokenizer, AConfigThatContradictsItselfIsRefusedAndChangesNothing) {
  const std::pair<const char*, const char*> rows[] = {
      {R"([])", "c.json: must be an object, but is an array"},
      {R"({"add_bos_token": 1})", "c.json: add_bos_token: must be true or false, but is 1"},
      {R"({"add_bos_token": true})", "c.json: add_bos_token: is true, but there is no bos_token"},
      {R"({"add_bos_token": true, "bos_token": 7})", "c.json: bos_token: must be a string"},
      {R"({"add_bos_token": true, "bos_token": {}})", "c.json: bos_token.content: is missing"},
      {R"({"add_bos_token": false, "add_eos_token": true, "eos_token": "<e>"})",
       "c.json: eos_token: \"<e>\" is no token of the tokenizer"},
  };
  for (const auto& [config, message] : rows) {
    Tokenizer tokenizer = WithBos();
    EXPECT_THAT(tokenizer.Configure(Json::parse(config), "c.json").message(), StartsWith(message));
    EXPECT_THAT(Encode(tokenizer, "a"), ElementsAre(300, 'a'));
  }
}

TEST(Tokenizer, OpenReadsTheConfigBesideTheTokenizer) {
  const TempFolder folder;
  Json json = SmallTokenizer();
  json["added_tokens"] = {AddedTokenJson(300, "<s>")};
  folder.Write("tokenizer.json", json.dump());
  EXPECT_THAT(Encode(Tokenizer::Open(folder.path()).value(), "a"), ElementsAre('a'));
  folder.Write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<s>"})");
  EXPECT_THAT(Encode(Tokenizer::Open(folder.path()).value(), "a"), ElementsAre(300, 'a'));
  folder.Write("tokenizer_config.json", "{");
  EXPECT_THAT(Tokenizer::Open(folder.path()).status().message(),
              testing::HasSubstr("tokenizer_config.json: line 1"));
}

TEST(Tokenizer, RefusesTextThatItCannotEncode) {
  const Tokenizer tokenizer = MustParse(Json::object());
  EXPECT_EQ(tokenizer.Encode("a\xFF").status(), InvalidArgument("the text is not UTF-8"));
}

TEST(Tokenizer, RefusesBadFilesByFilePlaceAndRule) {
  struct Row {
    Json changes;
    std::string message;
  };
  const Json unknown_special = {{"SpecialToken", {{"id", "<unknown>"}, {"type_id", 0}}}};
  const Row rows[] = {
      {{{"model", 3}}, "model: must be an object, but is 3"},
      {{{"normalizer", {{"type", "Lowercase"}}}},
       "normalizer.type: normalizer \"Lowercase\" is not supported; supported: NFC, Sequence"},
      {{{"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "NFKC"}}}}}}},
       "normalizer.normalizers[0].type: normalizer \"NFKC\" is not supported"},
      {{{"pre_tokenizer", nullptr}}, "pre_tokenizer: must be an object, but is null"},
      {{{"decoder", nullptr}}, "decoder: must be an object, but is null"},
      {{{"decoder", {{"type", "Metaspace"}}}},
       "decoder.type: must be ByteLevel; no other decoder is supported"},
      {{{"decoder", {{"type", "Sequence"}, {"decoders", Json::array()}}}},
       "decoder.decoders: must hold one ByteLevel"},
      {{{"post_processor", {{"type", "RobertaProcessing"}}}},
       "post_processor.type: post-processor \"RobertaProcessing\" is not supported"},
      {{{"post_processor", Template(Json::array({kStart}))}},
       "post_processor.single: does not hold the text, \"A\""},
      {{{"post_processor", Template({kText, kText})}},
       "post_processor.single[1].Sequence.id: a template for one text must hold \"A\" once"},
      {{{"post_processor", Template(Json::array({{{"Sequence", {{"id", "B"}}}}}))}},
       "post_processor.single[0].Sequence.id: a template for one text must hold \"A\" once"},
      {{{"post_processor", Template(Json::array({Json::object()}))}},
       "post_processor.single[0].Sequence: is missing"},
      {{{"post_processor", Template({unknown_special, kText})}},
       "post_processor.special_tokens.\"<unknown>\": is missing"},
  };
  for (const Row& row : rows) {
    const auto tokenizer = Parse(row.changes);
    ASSERT_FALSE(tokenizer.ok()) << row.changes.dump();
    EXPECT_THAT(tokenizer.status().message(), StartsWith("t.json: " + row.message));
  }
  EXPECT_EQ(Tokenizer::Parse(Json::array(), "t.json").status().message(),
            "t.json: must be an object, but is an array");
}

TEST(Tokenizer, NamesAFileThatIsMissing) {
  const TempFolder folder;
  const auto tokenizer = Tokenizer::Open(folder.path());
  EXPECT_EQ(tokenizer.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(tokenizer.status().message(),
              StartsWith((folder.path() / "tokenizer.json").string()));
}

TEST(Tokenizer, ThreadsMayShareOne) {
  const Tokenizer tokenizer = MustParse(Json::object());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&tokenizer, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string text = fmt::format("abc {} aaaa{}", i, t);
        const auto ids = tokenizer.Encode(text);
        ASSERT_TRUE(ids.ok());
        EXPECT_EQ(tokenizer.Decode(*ids, false), text);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// Text of random code points, most of them from few scripts so that words and normal forms come
// about.
std::string RandomText(std::mt19937* random) {
  static constexpr uint32_t kStarts[] = {0x20, 0x41, 0x61, 0x300, 0x1100, 0x1160, 0x4E00, 0x1F600};
  std::string text;
  for (size_t n = (*random)() % 40; n > 0; --n) {
    const uint32_t c = kStarts[(*random)() % std::size(kStarts)] + (*random)() % 26;
    if (c < 0x80) {
      text.push_back(static_cast<char>(c));
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
               static_cast<char>(0x80 | (c & 63))};
    } else {
      text += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 63)),
               static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
  }
  return text;
}

TEST(Tokenizer, WithoutANormalizerDecodingUndoesEncoding) {
  const Tokenizer tokenizer =
      Tokenizer::Open(STEELYARD_SOURCE_DIR "/tests/data/tokenizer/deepseek_v2_tiny").value();
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    const std::string text = RandomText(&random);
    ASSERT_TRUE(IsUtf8(text)) << "seed " << seed;
    const auto ids = tokenizer.Encode(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(ids.ok()) << "seed " << seed << ": " << ids.status().message();
    EXPECT_EQ(tokenizer.Decode(*ids, false), text) << "seed " << seed;
  }
}

TEST(Tokenizer, NoDamagedFileBreaksTheReader) {
  Json json = SmallTokenizer();
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"] = {AddedTokenJson(300, "<s>")};
  json["post_processor"] = Template({kStart, kText});
  const std::string good = json.dump();
  int num_read = 0;
  for (int seed = 0; seed < Scaled(2000); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string damaged = good.substr(0, seed % 5 == 0 ? random() % good.size() : good.size());
    for (int i = 0; i < 1 + seed % 2 && !damaged.empty(); ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random() % 128);
    }
    const auto damaged_json = ParseJson(damaged, "t.json");
    if (!damaged_json.ok()) {
      continue;
    }
    const auto tokenizer = Tokenizer::Parse(*damaged_json, "t.json");
    if (!tokenizer.ok()) {
      EXPECT_THAT(tokenizer.status().message(), StartsWith("t.json: ")) << "seed " << seed;
      continue;
    }
    ++num_read;
    const auto ids = tokenizer->Encode("abc <s> e\xCC\x81 12");
    if (ids.ok()) {
      EXPECT_TRUE(IsUtf8(tokenizer->Decode(*ids, false))) << "seed " << seed;
    }
  }
  EXPECT_GT(num_read, 0);
}

}  // namespace
}  // namespace steelyard
