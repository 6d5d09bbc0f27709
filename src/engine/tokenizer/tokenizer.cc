#include "engine/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "engine/tokenizer/byte_alphabet.h"
#include "engine/tokenizer/utf8.h"

namespace steelyard {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// Only the decoder that undoes the byte alphabet is known, by itself or as the one part of a
// Sequence.
Status CheckDecoder(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  if (type.value() == "ByteLevel") {
    return Status::Ok();
  }
  if (type.value() == "Sequence") {
    STEELYARD_ASSIGN_OR_RETURN(const JsonField list, field.Member("decoders"));
    STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> parts, list.Items());
    return parts.size() == 1 ? CheckDecoder(parts[0]) : list.Error("must hold one ByteLevel");
  }
  return type.Error("must be ByteLevel; no other decoder is supported");
}

// What a token adds to a decoded text. One with a character outside the byte alphabet stands for
// itself.
std::string DecodedBytes(const std::string& token) { return BytesOfToken(token).value_or(token); }

}  // namespace

Tokenizer::Tokenizer(Normalizer normalizer, PreTokenizer pre_tokenizer, Bpe bpe,
                     AddedTokens added_tokens, PostProcessor post_processor)
    : normalizer_(normalizer),
      pre_tokenizer_(std::move(pre_tokenizer)),
      bpe_(std::move(bpe)),
      added_tokens_(std::move(added_tokens)),
      post_processor_(std::move(post_processor)) {
  const Vocabulary& vocabulary = bpe_.vocabulary();
  int32_t num_ids = vocabulary.num_ids();
  for (const AddedToken& token : added_tokens_.tokens()) {
    num_ids = std::max(num_ids, token.id + 1);
  }
  bytes_of_id_.resize(static_cast<size_t>(num_ids));
  is_special_.resize(static_cast<size_t>(num_ids), false);
  for (int32_t id = 0; id < vocabulary.num_ids(); ++id) {
    if (const std::string* token = vocabulary.TokenOf(id); token != nullptr) {
      bytes_of_id_[static_cast<size_t>(id)] = DecodedBytes(*token);
    }
  }
  for (const AddedToken& token : added_tokens_.tokens()) {
    bytes_of_id_[static_cast<size_t>(token.id)] = DecodedBytes(token.content);
    is_special_[static_cast<size_t>(token.id)] = token.special;
  }
}

Result<Tokenizer> Tokenizer::Open(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  STEELYARD_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
  STEELYARD_ASSIGN_OR_RETURN(Tokenizer tokenizer, Parse(json, path.string()));
  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  std::error_code error;
  if (std::filesystem::exists(config_path, error)) {
    STEELYARD_ASSIGN_OR_RETURN(const Json config, ReadJsonFile(config_path));
    STEELYARD_RETURN_IF_ERROR(tokenizer.Configure(config, config_path.string()));
  }
  return tokenizer;
}

Result<Tokenizer> Tokenizer::Parse(const Json& json, const std::string& source) {
  const JsonField root(json, source);
  STEELYARD_ASSIGN_OR_RETURN(const JsonField model, root.Member("model"));
  STEELYARD_ASSIGN_OR_RETURN(Bpe bpe, Bpe::Parse(model));
  STEELYARD_ASSIGN_OR_RETURN(const auto normalizer_field, root.Optional("normalizer"));
  STEELYARD_ASSIGN_OR_RETURN(Normalizer normalizer, Normalizer::Parse(normalizer_field));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField pre_tokenizer_field, root.Member("pre_tokenizer"));
  STEELYARD_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, PreTokenizer::Parse(pre_tokenizer_field));
  STEELYARD_ASSIGN_OR_RETURN(const auto added_field, root.Optional("added_tokens"));
  STEELYARD_ASSIGN_OR_RETURN(AddedTokens added_tokens,
                             AddedTokens::Parse(added_field, bpe.vocabulary(), normalizer));
  STEELYARD_ASSIGN_OR_RETURN(const auto post_field, root.Optional("post_processor"));
  STEELYARD_ASSIGN_OR_RETURN(PostProcessor post_processor, PostProcessor::Parse(post_field));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField decoder, root.Member("decoder"));
  STEELYARD_RETURN_IF_ERROR(CheckDecoder(decoder));
  return Tokenizer(normalizer, std::move(pre_tokenizer), std::move(bpe), std::move(added_tokens),
                   std::move(post_processor));
}

Status Tokenizer::Configure(const Json& json, const std::string& source) {
  const JsonField config(json, source);
  PostProcessor configured;
  STEELYARD_ASSIGN_OR_RETURN(configured.prefix,
                             TokenOfConfig(config, "bos_token", post_processor_.prefix));
  STEELYARD_ASSIGN_OR_RETURN(configured.suffix,
                             TokenOfConfig(config, "eos_token", post_processor_.suffix));
  post_processor_ = std::move(configured);
  return Status::Ok();
}

/// What `add_NAME` asks for at its end of a text; `otherwise` where it says nothing.
Result<std::vector<int32_t>> Tokenizer::TokenOfConfig(const JsonField& config,
                                                      const std::string& name,
                                                      std::vector<int32_t> otherwise) const {
  STEELYARD_ASSIGN_OR_RETURN(const auto add_field, config.Optional("add_" + name));
  if (!add_field.has_value()) {
    return otherwise;
  }
  STEELYARD_ASSIGN_OR_RETURN(const bool add, add_field->Boolean());
  if (!add) {
    return std::vector<int32_t>();
  }
  STEELYARD_ASSIGN_OR_RETURN(const auto token_field, config.Optional(name));
  if (!token_field.has_value()) {
    return add_field->Error(fmt::format("is true, but there is no {}", name));
  }
  // Written as the string itself, or as an added token that has it.
  JsonField content = *token_field;
  if (content.value().is_object()) {
    STEELYARD_ASSIGN_OR_RETURN(content, token_field->Member("content"));
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::string text, content.String());
  const std::optional<int32_t> id = FindToken(text);
  if (!id.has_value()) {
    return content.Error(fmt::format("{} is no token of the tokenizer", Quoted(text)));
  }
  return std::vector<int32_t>{*id};
}

std::optional<int32_t> Tokenizer::FindToken(std::string_view content) const {
  for (const AddedToken& token : added_tokens_.tokens()) {
    if (token.content == content) {
      return token.id;
    }
  }
  return bpe_.vocabulary().Find(content);
}

Status Tokenizer::EncodePlain(std::string_view text, RegexScratch* scratch,
                              std::vector<int32_t>* ids) const {
  Words words;
  STEELYARD_RETURN_IF_ERROR(pre_tokenizer_.Cut(text, scratch, &words));
  for (const std::string_view word : words.words) {
    STEELYARD_RETURN_IF_ERROR(bpe_.Encode(word, ids));
  }
  return Status::Ok();
}

Status Tokenizer::EncodeBetweenRawTokens(std::string_view text, RegexScratch* scratch,
                                         std::vector<int32_t>* ids) const {
  STEELYARD_ASSIGN_OR_RETURN(const std::string normalized, normalizer_.Apply(text));
  for (const TokenFinder::Part& part : added_tokens_.in_normalized_text().Find(normalized)) {
    if (part.id >= 0) {
      ids->push_back(part.id);
    } else {
      STEELYARD_RETURN_IF_ERROR(EncodePlain(part.text, scratch, ids));
    }
  }
  return Status::Ok();
}

Result<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                               bool add_special_tokens) const {
  if (text.size() > kMaxTextBytes) {
    return InvalidArgument(fmt::format("a text of {} bytes is longer than the {} allowed",
                                       text.size(), kMaxTextBytes));
  }
  if (!IsUtf8(text)) {
    return InvalidArgument("the text is not UTF-8");
  }
  std::vector<int32_t> ids;
  if (add_special_tokens) {
    ids = post_processor_.prefix;
  }
  RegexScratch scratch;
  for (const TokenFinder::Part& part : added_tokens_.in_raw_text().Find(text)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      STEELYARD_RETURN_IF_ERROR(EncodeBetweenRawTokens(part.text, &scratch, &ids));
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), post_processor_.suffix.begin(), post_processor_.suffix.end());
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (id < 0 || id >= num_ids()) {
      continue;
    }
    const auto index = static_cast<size_t>(id);
    if (!(skip_special_tokens && is_special_[index])) {
      bytes += bytes_of_id_[index];
    }
  }
  return ToUtf8Lossy(bytes);
}

}  // namespace steelyard
