#include "engine/tokenizer/post_processor.h"

#include <fmt/format.h>

#include <string>

#include "engine/tokenizer/vocabulary.h"

namespace steelyard {
namespace {

Result<std::vector<int32_t>> ParseIds(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> items, field.Items());
  std::vector<int32_t> ids;
  for (const JsonField& item : items) {
    STEELYARD_ASSIGN_OR_RETURN(const int64_t id, item.Integer(0, kMaxTokenIds - 1));
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

// The ids that the template defines for the special token `piece` names.
Result<std::vector<int32_t>> SpecialIds(const JsonField& piece, const JsonField& special_tokens) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField name_field, piece.Member("id"));
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, name_field.String());
  STEELYARD_ASSIGN_OR_RETURN(const JsonField special, special_tokens.Member(name));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField ids, special.Member("ids"));
  return ParseIds(ids);
}

Result<PostProcessor> ParseTemplate(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField single, field.Member("single"));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField special_tokens, field.Member("special_tokens"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> pieces, single.Items());
  PostProcessor result;
  bool seen_text = false;
  for (const JsonField& piece : pieces) {
    STEELYARD_ASSIGN_OR_RETURN(const auto special, piece.Optional("SpecialToken"));
    if (special.has_value()) {
      STEELYARD_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                                 SpecialIds(*special, special_tokens));
      std::vector<int32_t>& side = seen_text ? result.suffix : result.prefix;
      side.insert(side.end(), ids.begin(), ids.end());
      continue;
    }
    STEELYARD_ASSIGN_OR_RETURN(const JsonField sequence, piece.Member("Sequence"));
    STEELYARD_ASSIGN_OR_RETURN(const JsonField id, sequence.Member("id"));
    if (id.value() != "A" || seen_text) {
      return id.Error("a template for one text must hold \"A\" once and no other");
    }
    seen_text = true;
  }
  if (!seen_text) {
    return single.Error("does not hold the text, \"A\"");
  }
  return result;
}

// The depth of Sequences in Sequences is bounded by that of the JSON.
Result<PostProcessor> ParsePart(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, type.String());
  if (name == "ByteLevel") {
    return PostProcessor();  // changes offsets only
  }
  if (name == "TemplateProcessing") {
    return ParseTemplate(field);
  }
  if (name != "Sequence") {
    return type.Error(
        fmt::format("post-processor {} is not supported; supported: ByteLevel, TemplateProcessing, "
                    "Sequence",
                    Quoted(name)));
  }
  STEELYARD_ASSIGN_OR_RETURN(const JsonField list, field.Member("processors"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> parts, list.Items());
  PostProcessor whole;
  for (const JsonField& part : parts) {
    STEELYARD_ASSIGN_OR_RETURN(const PostProcessor outer, ParsePart(part));
    whole.prefix.insert(whole.prefix.begin(), outer.prefix.begin(), outer.prefix.end());
    whole.suffix.insert(whole.suffix.end(), outer.suffix.begin(), outer.suffix.end());
  }
  return whole;
}

}  // namespace

Result<PostProcessor> PostProcessor::Parse(const std::optional<JsonField>& field) {
  return field.has_value() ? ParsePart(*field) : PostProcessor();
}

}  // namespace steelyard
