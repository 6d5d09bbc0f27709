// The added_tokens part of tokenizer.json: strings that become one token wherever they stand in a
// text, before anything else is done to it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/json_field.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/vocabulary.h"
#include "steelyard/base/status.h"

namespace steelyard {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;     // left out when text is decoded for people
  bool normalized = false;  // looked for in the normalized text instead of the raw one
};

/// Finds a set of strings in a text.
class TokenFinder {
 public:
  /// Part of a text: an added token, or (id < 0) what lies between.
  struct Part {
    std::string_view text;
    int32_t id = -1;
  };

  /// Requires: `content` is not empty.
  void Add(std::string content, int32_t id);

  /// Cuts `text` at the strings: the leftmost first, of several there the longest. No part is
  /// empty.
  std::vector<Part> Find(std::string_view text) const;

 private:
  struct Entry {
    std::string content;
    int32_t id;
  };
  std::array<std::vector<Entry>, 256> by_first_byte_;  // longest first
};

/// Never changes after Parse(), so threads may share one.
class AddedTokens {
 public:
  /// `field` is nothing for an absent list. Each id and each string is given once; a string that is
  /// in the vocabulary must have its id there, another string an id that is free. Fails naming the
  /// place; lstrip, rstrip and single_word are refused when set.
  static Result<AddedTokens> Parse(const std::optional<JsonField>& field,
                                   const Vocabulary& vocabulary, const Normalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const TokenFinder& in_raw_text() const { return raw_; }
  const TokenFinder& in_normalized_text() const { return normalized_; }

 private:
  Status Add(const JsonField& field, const Vocabulary& vocabulary, const Normalizer& normalizer);

  std::vector<AddedToken> tokens_;
  TokenFinder raw_;
  TokenFinder normalized_;
};

}  // namespace steelyard
