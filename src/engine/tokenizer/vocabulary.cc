#include "engine/tokenizer/vocabulary.h"

#include <fmt/format.h>

namespace steelyard {

Result<Vocabulary> Vocabulary::Parse(const JsonField& field) {
  STEELYARD_RETURN_IF_ERROR(field.RequireObject());
  Vocabulary vocabulary;
  vocabulary.ids_.reserve(field.value().size());
  for (const auto& item : field.value().items()) {
    STEELYARD_ASSIGN_OR_RETURN(const JsonField entry, field.Member(item.key()));
    STEELYARD_ASSIGN_OR_RETURN(const int64_t id, entry.Integer(0, kMaxTokenIds - 1));
    const auto index = static_cast<size_t>(id);
    if (index >= vocabulary.tokens_.size()) {
      vocabulary.tokens_.resize(index + 1, nullptr);
    }
    if (const std::string* other = vocabulary.tokens_[index]; other != nullptr) {
      return entry.Error(fmt::format("id {} is that of {} already", id, Quoted(*other)));
    }
    const auto place = vocabulary.ids_.emplace(item.key(), static_cast<int32_t>(id)).first;
    vocabulary.tokens_[index] = &place->first;
  }
  return vocabulary;
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? std::nullopt : std::optional<int32_t>(found->second);
}

const std::string* Vocabulary::TokenOf(int32_t id) const {
  return id >= 0 && id < num_ids() ? tokens_[static_cast<size_t>(id)] : nullptr;
}

}  // namespace steelyard
