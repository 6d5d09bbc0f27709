#include "engine/tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace steelyard {

void TokenFinder::Add(std::string content, int32_t id) {
  std::vector<Entry>& entries = by_first_byte_[static_cast<unsigned char>(content.front())];
  const auto place = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
    return entry.content.size() < content.size();
  });
  entries.insert(place, {std::move(content), id});
}

std::vector<TokenFinder::Part> TokenFinder::Find(std::string_view text) const {
  std::vector<Part> parts;
  size_t begin = 0;  // of what lies between
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view rest = text.substr(at);
    const std::vector<Entry>& entries = by_first_byte_[static_cast<unsigned char>(rest.front())];
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
      return rest.starts_with(entry.content);
    });
    if (found == entries.end()) {
      ++at;
      continue;
    }
    if (begin < at) {
      parts.push_back({text.substr(begin, at - begin), -1});
    }
    parts.push_back({rest.substr(0, found->content.size()), found->id});
    at += found->content.size();
    begin = at;
  }
  if (begin < text.size()) {
    parts.push_back({text.substr(begin), -1});
  }
  return parts;
}

namespace {

Status CheckId(const JsonField& field, const AddedToken& token, const Vocabulary& vocabulary) {
  if (const auto known = vocabulary.Find(token.content); known.has_value()) {
    return *known == token.id ? Status::Ok()
                              : field.Error(fmt::format("{} has id {} in the vocabulary, not {}",
                                                        Quoted(token.content), *known, token.id));
  }
  const std::string* other = vocabulary.TokenOf(token.id);
  return other == nullptr ? Status::Ok()
                          : field.Error(fmt::format("{} is the id of {} in the vocabulary",
                                                    token.id, Quoted(*other)));
}

Status RequireUnset(const JsonField& field, std::string_view key) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> flag, field.Optional(key));
  if (!flag.has_value()) {
    return Status::Ok();
  }
  STEELYARD_ASSIGN_OR_RETURN(const bool set, flag->Boolean());
  return set ? flag->Error("true is not supported") : Status::Ok();
}

}  // namespace

Status AddedTokens::Add(const JsonField& field, const Vocabulary& vocabulary,
                        const Normalizer& normalizer) {
  AddedToken token;
  STEELYARD_ASSIGN_OR_RETURN(const JsonField content, field.Member("content"));
  STEELYARD_ASSIGN_OR_RETURN(token.content, content.String());
  if (token.content.empty()) {
    return content.Error("must not be empty");
  }
  STEELYARD_ASSIGN_OR_RETURN(const JsonField id, field.Member("id"));
  STEELYARD_ASSIGN_OR_RETURN(const int64_t id_value, id.Integer(0, kMaxTokenIds - 1));
  token.id = static_cast<int32_t>(id_value);
  STEELYARD_RETURN_IF_ERROR(CheckId(id, token, vocabulary));
  for (const std::string_view key : {"lstrip", "rstrip", "single_word"}) {
    STEELYARD_RETURN_IF_ERROR(RequireUnset(field, key));
  }
  STEELYARD_ASSIGN_OR_RETURN(const JsonField special, field.Member("special"));
  STEELYARD_ASSIGN_OR_RETURN(token.special, special.Boolean());
  STEELYARD_ASSIGN_OR_RETURN(const JsonField normalized, field.Member("normalized"));
  STEELYARD_ASSIGN_OR_RETURN(token.normalized, normalized.Boolean());
  if (token.normalized) {
    STEELYARD_ASSIGN_OR_RETURN(std::string text, normalizer.Apply(token.content));
    normalized_.Add(std::move(text), token.id);
  } else {
    raw_.Add(token.content, token.id);
  }
  tokens_.push_back(std::move(token));
  return Status::Ok();
}

Result<AddedTokens> AddedTokens::Parse(const std::optional<JsonField>& field,
                                       const Vocabulary& vocabulary, const Normalizer& normalizer) {
  AddedTokens added;
  if (!field.has_value()) {
    return added;
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> items, field->Items());
  std::unordered_set<int32_t> ids;
  std::unordered_set<std::string> contents;
  for (const JsonField& item : items) {
    STEELYARD_RETURN_IF_ERROR(added.Add(item, vocabulary, normalizer));
    const AddedToken& token = added.tokens_.back();
    if (!contents.insert(token.content).second) {
      return item.ErrorAt("content", fmt::format("{} is given twice", Quoted(token.content)));
    }
    if (!ids.insert(token.id).second) {
      return item.ErrorAt("id", fmt::format("{} is given twice", token.id));
    }
  }
  return added;
}

}  // namespace steelyard
