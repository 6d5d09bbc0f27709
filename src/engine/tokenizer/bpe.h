// Byte-pair encoding of one word: start from its bytes, merge the pair of neighbours whose rule
// comes first, leftmost first, until no rule applies.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/checkpoint/json_field.h"
#include "engine/tokenizer/vocabulary.h"
#include "steelyard/base/status.h"

namespace steelyard {

class WordCache;

/// Threads may share one: what changes (a cache of words) is guarded.
class Bpe {
 public:
  /// `field` is the "model" of a tokenizer.json. Fails naming the place: another type, a setting
  /// that is not supported, a vocabulary that Vocabulary refuses, a merge that is no pair of known
  /// tokens or makes an unknown one.
  static Result<Bpe> Parse(const JsonField& field);

  Bpe(Bpe&&) noexcept;
  Bpe& operator=(Bpe&&) noexcept;
  ~Bpe();

  /// Appends the ids of `word`, given as raw bytes. Fails with kInvalidArgument when the vocabulary
  /// lacks one of its bytes. Takes O(n log n) for n bytes; short words that came before are looked
  /// up.
  Status Encode(std::string_view word, std::vector<int32_t>* ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank;  // place among the rules; the lowest goes first
    int32_t id;    // of the token made
  };
  struct Symbol {
    int32_t id;    // kMergedAway when the one before has taken it in
    int32_t prev;  // indices of neighbours, -1 at the ends
    int32_t next;
  };

  explicit Bpe(Vocabulary vocabulary);
  Status AddMerges(const JsonField& field);
  void IndexWords();
  const Merge* FindMerge(int32_t left, int32_t right) const;
  const Merge* MergeAt(const std::vector<Symbol>& symbols, int32_t at) const;
  Result<std::vector<Symbol>> SymbolsOf(std::string_view word) const;
  Result<std::vector<int32_t>> EncodeUncached(std::string_view word) const;

  Vocabulary vocabulary_;
  std::array<int32_t, 256> byte_ids_;           // -1 where the vocabulary lacks the byte
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  // Words that are tokens are taken whole; empty unless ignore_merges is set. By raw bytes.
  std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>> whole_words_;
  std::unique_ptr<WordCache> cache_;
};

}  // namespace steelyard
