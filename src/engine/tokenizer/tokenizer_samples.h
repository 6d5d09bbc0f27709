// A small tokenizer.json for tests: the 256 bytes with ids 0..255 in byte order, and a few merges.
#pragma once

#include <string>

#include "base/json.h"
#include "engine/tokenizer/byte_alphabet.h"

namespace steelyard {

/// Tokens: byte b has id b; then ab 256, bc 257, abc 258 (from ab c), aa 259, aaaa 260. "Ġ" is the
/// space.
inline Json SmallModel() {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    vocab[CharacterOfByte(static_cast<unsigned char>(byte))] = byte;
  }
  int id = 256;
  for (const char* token : {"ab", "bc", "abc", "aa", "aaaa"}) {
    vocab[token] = id++;
  }
  return {{"type", "BPE"},
          {"vocab", vocab},
          {"merges", Json::parse(R"([["a","b"],["b","c"],["ab","c"],["a","a"],["aa","aa"]])")}};
}

inline Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

inline Json AddedTokenJson(int id, const std::string& content, bool special = true,
                           bool normalized = false) {
  return {
      {"id", id},        {"content", content}, {"special", special},  {"normalized", normalized},
      {"lstrip", false}, {"rstrip", false},    {"single_word", false}};
}

inline Json SmallTokenizer() {
  return {{"normalizer", nullptr},     {"pre_tokenizer", ByteLevel(true)},
          {"model", SmallModel()},     {"added_tokens", Json::array()},
          {"post_processor", nullptr}, {"decoder", {{"type", "ByteLevel"}}}};
}

}  // namespace steelyard
