#include "engine/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace steelyard {
namespace {

constexpr int kNumBytes = 256;
constexpr int kFirstSubstitute = 0x100;
constexpr int kNotInAlphabet = -1;
// Space, controls and the soft hyphen are what Latin-1 does not print: 68 bytes in all.
constexpr int kNumCodePoints = kFirstSubstitute + 68;

constexpr bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

struct Tables {
  std::array<int, kNumBytes> code_point{};  // of each byte
  std::array<int, kNumCodePoints> byte{};   // of each code point, or kNotInAlphabet
};

constexpr Tables MakeTables() {
  Tables tables;
  tables.byte.fill(kNotInAlphabet);
  int next = kFirstSubstitute;
  for (int byte = 0; byte < kNumBytes; ++byte) {
    const int code_point = StandsForItself(byte) ? byte : next++;
    tables.code_point[static_cast<size_t>(byte)] = code_point;
    tables.byte[static_cast<size_t>(code_point)] = byte;
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    // The alphabet ends at U+0143, so its characters have one or two bytes.
    size_t code_point = static_cast<unsigned char>(token[0]);
    size_t length = 1;
    if (code_point >= 0x80) {
      if (code_point >= 0xE0 || token.size() < 2) {
        return std::nullopt;
      }
      code_point = (code_point & 0x1F) << 6 | (static_cast<unsigned char>(token[1]) & 0x3F);
      length = 2;
    }
    if (code_point >= kNumCodePoints || kTables.byte[code_point] == kNotInAlphabet) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(kTables.byte[code_point]));
    token.remove_prefix(length);
  }
  return bytes;
}

std::string CharacterOfByte(unsigned char byte) {
  const int code_point = kTables.code_point[byte];
  if (code_point < 0x80) {
    return std::string(1, static_cast<char>(code_point));
  }
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

}  // namespace steelyard
