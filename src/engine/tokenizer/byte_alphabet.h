// The alphabet of byte-level BPE: tokenizer.json writes each byte of a token as one printable
// character.
//
// Bytes that are printable in Latin-1 stand for themselves; the others are U+0100, U+0101, .. in
// ascending order, so a space is U+0120. This is GPT-2's table.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace steelyard {

/// The bytes that `token` writes; nothing where a character of it is not in the alphabet. Requires:
/// `token` is UTF-8.
std::optional<std::string> BytesOfToken(std::string_view token);

/// The character that stands for `byte`, as UTF-8.
std::string CharacterOfByte(unsigned char byte);

}  // namespace steelyard
