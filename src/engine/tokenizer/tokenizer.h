// Text to token ids and back: the byte-level BPE that a model folder's tokenizer.json describes,
// with the same answers as Hugging Face tokenizers. What of that format is not built here is
// refused when the file is read, never guessed at.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/post_processor.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Move only. After it has been made, threads may share one.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json, and what tokenizer_config.json, where it is there, says on top.
  static Result<Tokenizer> Open(const std::filesystem::path& folder);

  /// `source` names the file in messages. Fails naming file, place and rule.
  static Result<Tokenizer> Parse(const Json& json, const std::string& source);

  /// Takes over `add_bos_token` and `add_eos_token` of a tokenizer_config.json: true puts the
  /// `bos_token` before a text (the `eos_token` after it) and nothing else there, false nothing at
  /// all; absent leaves it to the post-processor. Fails naming file, place and rule, and leaves
  /// this as it was then.
  Status Configure(const Json& json, const std::string& source);

  /// The ids of `text`; with `add_special_tokens` also those that the post-processor adds (a BOS).
  /// Fails with kInvalidArgument when the text is not UTF-8, is longer than 1 GiB, has a byte
  /// without a token, or makes a pattern of the file take too long.
  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens = true) const;

  /// The text of `ids`: their bytes in a row, U+FFFD for what is not UTF-8. Ids without a token (a
  /// model's vocabulary is often padded) have no bytes; special tokens are left out when
  /// `skip_special_tokens` is set.
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  /// One more than the largest id that has a token.
  int32_t num_ids() const { return static_cast<int32_t>(bytes_of_id_.size()); }

 private:
  Tokenizer(Normalizer normalizer, PreTokenizer pre_tokenizer, Bpe bpe, AddedTokens added_tokens,
            PostProcessor post_processor);
  Result<std::vector<int32_t>> TokenOfConfig(const JsonField& config, const std::string& name,
                                             std::vector<int32_t> otherwise) const;
  std::optional<int32_t> FindToken(std::string_view content) const;
  Status EncodeBetweenRawTokens(std::string_view text, RegexScratch* scratch,
                                std::vector<int32_t>* ids) const;
  Status EncodePlain(std::string_view text, RegexScratch* scratch, std::vector<int32_t>* ids) const;

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  AddedTokens added_tokens_;
  PostProcessor post_processor_;
  std::vector<std::string> bytes_of_id_;  // empty for an id without a token
  std::vector<bool> is_special_;          // by id
};

}  // namespace steelyard
