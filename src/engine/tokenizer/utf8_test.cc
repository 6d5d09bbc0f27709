#include "engine/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include "engine/tokenizer/byte_alphabet.h"

namespace steelyard {
namespace {

constexpr const char* kOne = "\xEF\xBF\xBD";
const std::string kTwo = std::string(kOne) + kOne;
const std::string kThree = kTwo + kOne;

TEST(Utf8, TextIsKeptAndEveryMaximalBrokenPartIsOneReplacement) {
  struct Row {
    std::string bytes;
    std::string text;
  };
  const Row rows[] = {
      {"", ""},
      {"plain", "plain"},
      {"\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x99\x82", "\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x99\x82"},
      {"a\x80z", std::string("a") + kOne + "z"},   // a continuation by itself
      {"a\xFFz", std::string("a") + kOne + "z"},   // a byte that UTF-8 never has
      {"\xE4\xB8", kOne},                          // cut short: one part
      {"\xE4\xB8z", std::string(kOne) + "z"},      // broken off: one part
      {"\xF0\x9F\x99z", std::string(kOne) + "z"},  // three good bytes are one part
      {"\xF0\x9F\x99\xF0\x9F\x99\x82", std::string(kOne) + "\xF0\x9F\x99\x82"},
      {"\xC0\x80", kTwo},                   // overlong: no byte of it goes together
      {"\xE0\x80\x80", kThree},             // overlong
      {"\xED\xA0\x80", kThree},             // a surrogate
      {"\xF4\x90\x80\x80", kThree + kOne},  // above U+10FFFF
      {"\xF0\x80z", kTwo + "z"},
      {"\xC3", kOne},
      {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},  // U+10FFFF itself
  };
  for (const Row& row : rows) {
    EXPECT_EQ(ToUtf8Lossy(row.bytes), row.text) << row.text;
    EXPECT_EQ(IsUtf8(row.bytes), row.bytes == row.text) << row.text;
    EXPECT_TRUE(IsUtf8(ToUtf8Lossy(row.bytes))) << row.text;
  }
}

TEST(ByteAlphabet, IsReversedForEveryByteAndHasNoOtherCharacters) {
  std::string all_characters;
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) {
    all_characters += CharacterOfByte(static_cast<unsigned char>(byte));
    all_bytes.push_back(static_cast<char>(byte));
  }
  EXPECT_EQ(BytesOfToken(all_characters), all_bytes);
  EXPECT_EQ(CharacterOfByte('a'), "a");
  EXPECT_EQ(CharacterOfByte(' '), "\xC4\xA0");   // U+0120
  EXPECT_EQ(CharacterOfByte('\n'), "\xC4\x8A");  // U+010A
  EXPECT_EQ(CharacterOfByte(0xAD), "\xC5\x83");  // U+0143, the last
  for (const char* token : {" ", "a\n", "\xC2\xAD", "\xC5\x84", "\xEF\xBD\x9C"}) {
    EXPECT_FALSE(BytesOfToken(token).has_value()) << token;
  }
}

}  // namespace
}  // namespace steelyard
