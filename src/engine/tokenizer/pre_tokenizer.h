// The pre_tokenizer part of tokenizer.json: cuts a text into the words within which BPE merges.
//
// A sequence of Splits by regular expressions, each cutting the pieces of the one before, that ends
// in ByteLevel. The bytes of a word stay as they are here; the vocabulary is translated instead
// (byte_alphabet.h).
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/json_field.h"
#include "engine/tokenizer/regex.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Words in order. Most are parts of the text that was cut, which must live on; `owned` holds the
/// others.
struct Words {
  std::vector<std::string_view> words;
  std::deque<std::string> owned;
};

/// Never changes after Parse(), so threads may share one.
class PreTokenizer {
 public:
  /// Fails naming the place: a kind or setting that is not supported, a bad pattern, no ByteLevel
  /// at the end.
  static Result<PreTokenizer> Parse(const JsonField& field);

  /// Appends the words of `text`, none of them empty. Fails when a pattern takes too much.
  /// Requires: `text` is UTF-8.
  Status Cut(std::string_view text, RegexScratch* scratch, Words* words) const;

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Split {
    Regex regex;
    Behavior behavior;
    bool invert;  // what does not match counts as the match
  };
  struct Segment {
    TextRange range;
    bool is_match;
  };

  static Result<std::vector<Segment>> FindSegments(const Split& split, std::string_view text,
                                                   RegexScratch* scratch);
  static std::vector<TextRange> Arrange(Behavior behavior, const std::vector<Segment>& segments);
  static Status Apply(const Split& split, RegexScratch* scratch,
                      std::vector<std::string_view>* pieces);
  Status ParseStep(const JsonField& field);
  Status ParseSequence(const JsonField& field);
  Status ParseSplit(const JsonField& field);
  Status ParseByteLevel(const JsonField& field);

  std::vector<Split> splits_;
  bool has_byte_level_ = false;
  bool add_prefix_space_ = false;
  std::optional<Split> byte_level_split_;
};

}  // namespace steelyard
