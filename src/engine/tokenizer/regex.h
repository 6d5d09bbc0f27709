// Regular expressions of tokenizer.json files, matched by PCRE2 with Unicode properties.
//
// Patterns come from strangers: a match that takes too many steps or too much memory is an error,
// never a hang.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;
struct pcre2_real_match_data_8;
struct pcre2_real_jit_stack_8;

namespace steelyard {

/// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;

  friend bool operator==(const TextRange&, const TextRange&) = default;
};

/// What a match needs besides the pattern. For one thread at a time; serves any number of patterns.
class RegexScratch {
 public:
  RegexScratch();

 private:
  friend class Regex;
  struct Free {
    void operator()(pcre2_real_match_context_8* context) const;
    void operator()(pcre2_real_match_data_8* data) const;
    void operator()(pcre2_real_jit_stack_8* stack) const;
  };
  std::unique_ptr<pcre2_real_match_context_8, Free> context_;
  std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  std::unique_ptr<pcre2_real_jit_stack_8, Free> stack_;
};

/// Never changes after Compile(), so threads may share one.
class Regex {
 public:
  enum class Kind { kPattern, kLiteral };

  /// `pattern` is in Oniguruma's dialect (regex_dialect.h). Fails with kInvalidArgument saying what
  /// is wrong with it. Requires: `pattern` is UTF-8.
  static Result<Regex> Compile(std::string_view pattern, Kind kind = Kind::kPattern);

  /// All matches in `text`, from left to right, without overlap; one that is empty is left out
  /// where the match before it ends. Fails with kInvalidArgument when a match takes too much.
  /// Requires: `text` is UTF-8.
  Result<std::vector<TextRange>> FindAll(std::string_view text, RegexScratch* scratch) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}

  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace steelyard
