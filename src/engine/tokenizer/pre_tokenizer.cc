#include "engine/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace steelyard {
namespace {

// What ByteLevel cuts by when use_regex is set: GPT-2's pattern.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Result<bool> BooleanOr(const JsonField& field, std::string_view key, bool absent) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> member, field.Optional(key));
  return member.has_value() ? member->Boolean() : absent;
}

Result<Regex> ParsePattern(const JsonField& pattern) {
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> regex, pattern.Optional("Regex"));
  STEELYARD_ASSIGN_OR_RETURN(const std::optional<JsonField> literal, pattern.Optional("String"));
  if (regex.has_value() == literal.has_value()) {
    return pattern.Error("must have either Regex or String");
  }
  const JsonField& field = regex.has_value() ? *regex : *literal;
  STEELYARD_ASSIGN_OR_RETURN(const std::string text, field.String());
  if (text.empty()) {
    return field.Error("must not be empty");
  }
  auto compiled =
      Regex::Compile(text, regex.has_value() ? Regex::Kind::kPattern : Regex::Kind::kLiteral);
  if (!compiled.ok()) {
    return field.Error(compiled.status().message());
  }
  return compiled;
}

}  // namespace

Status PreTokenizer::ParseSplit(const JsonField& field) {
  static constexpr std::pair<std::string_view, Behavior> kBehaviors[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  };
  STEELYARD_ASSIGN_OR_RETURN(const JsonField pattern, field.Member("pattern"));
  STEELYARD_ASSIGN_OR_RETURN(Regex regex, ParsePattern(pattern));
  STEELYARD_ASSIGN_OR_RETURN(const bool invert, BooleanOr(field, "invert", false));
  STEELYARD_ASSIGN_OR_RETURN(const JsonField behavior, field.Member("behavior"));
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, behavior.String());
  for (const auto& row : kBehaviors) {
    if (row.first == name) {
      splits_.push_back({std::move(regex), row.second, invert});
      return Status::Ok();
    }
  }
  return behavior.Error(fmt::format("{} is not supported", Quoted(name)));
}

Status PreTokenizer::ParseByteLevel(const JsonField& field) {
  has_byte_level_ = true;
  STEELYARD_ASSIGN_OR_RETURN(add_prefix_space_, BooleanOr(field, "add_prefix_space", true));
  STEELYARD_ASSIGN_OR_RETURN(const bool use_regex, BooleanOr(field, "use_regex", true));
  if (use_regex) {
    STEELYARD_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kByteLevelPattern));
    byte_level_split_ = Split{std::move(regex), Behavior::kIsolated, false};
  }
  return Status::Ok();
}

// The depth of Sequences in Sequences is bounded by that of the JSON.
Status PreTokenizer::ParseSequence(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField list, field.Member("pretokenizers"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> steps, list.Items());
  for (const JsonField& step : steps) {
    STEELYARD_RETURN_IF_ERROR(ParseStep(step));
  }
  return Status::Ok();
}

Status PreTokenizer::ParseStep(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  if (type.value() == "Sequence") {
    return ParseSequence(field);
  }
  if (has_byte_level_) {
    return field.Error("stands after ByteLevel, which must be the last");
  }
  if (type.value() == "Split") {
    return ParseSplit(field);
  }
  if (type.value() == "ByteLevel") {
    return ParseByteLevel(field);
  }
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, type.String());
  return type.Error(fmt::format(
      "pre-tokenizer {} is not supported; supported: Sequence, Split, ByteLevel", Quoted(name)));
}

Result<PreTokenizer> PreTokenizer::Parse(const JsonField& field) {
  PreTokenizer pre_tokenizer;
  STEELYARD_RETURN_IF_ERROR(pre_tokenizer.ParseStep(field));
  if (!pre_tokenizer.has_byte_level_) {
    return field.Error("has no ByteLevel; only byte-level BPE is supported");
  }
  return pre_tokenizer;
}

Result<std::vector<PreTokenizer::Segment>> PreTokenizer::FindSegments(const Split& split,
                                                                      std::string_view text,
                                                                      RegexScratch* scratch) {
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<TextRange> matches,
                             split.regex.FindAll(text, scratch));
  std::vector<Segment> segments;
  size_t end = 0;
  for (const TextRange& match : matches) {
    if (end < match.begin) {
      segments.push_back({{end, match.begin}, split.invert});
    }
    segments.push_back({match, !split.invert});
    end = match.end;
  }
  if (end < text.size()) {
    segments.push_back({{end, text.size()}, split.invert});
  }
  return segments;
}

std::vector<TextRange> PreTokenizer::Arrange(Behavior behavior,
                                             const std::vector<Segment>& segments) {
  std::vector<TextRange> pieces;
  const bool backwards = behavior == Behavior::kMergedWithNext;
  bool previous_is_match = false;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[backwards ? segments.size() - 1 - i : i];
    // A match joins its neighbour once: of two matches in a row the second starts a piece.
    const bool joins = behavior == Behavior::kContiguous ? segment.is_match == previous_is_match
                       : behavior == Behavior::kMergedWithPrevious || backwards
                           ? segment.is_match && !previous_is_match
                           : false;
    previous_is_match = segment.is_match;
    if (behavior == Behavior::kRemoved && segment.is_match) {
      continue;
    }
    if (!joins || pieces.empty()) {
      pieces.push_back(segment.range);
    } else if (backwards) {
      pieces.back().begin = segment.range.begin;
    } else {
      pieces.back().end = segment.range.end;
    }
  }
  if (backwards) {
    std::reverse(pieces.begin(), pieces.end());
  }
  return pieces;
}

Status PreTokenizer::Apply(const Split& split, RegexScratch* scratch,
                           std::vector<std::string_view>* pieces) {
  std::vector<std::string_view> cut;
  for (const std::string_view piece : *pieces) {
    STEELYARD_ASSIGN_OR_RETURN(const std::vector<Segment> segments,
                               FindSegments(split, piece, scratch));
    for (const TextRange& range : Arrange(split.behavior, segments)) {
      if (range.begin < range.end) {
        cut.push_back(piece.substr(range.begin, range.end - range.begin));
      }
    }
  }
  *pieces = std::move(cut);
  return Status::Ok();
}

Status PreTokenizer::Cut(std::string_view text, RegexScratch* scratch, Words* words) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) {
    pieces.push_back(text);
  }
  for (const Split& split : splits_) {
    STEELYARD_RETURN_IF_ERROR(Apply(split, scratch, &pieces));
  }
  if (add_prefix_space_) {
    for (std::string_view& piece : pieces) {
      if (piece.front() != ' ') {
        piece = words->owned.emplace_back(1, ' ').append(piece);
      }
    }
  }
  if (byte_level_split_.has_value()) {
    STEELYARD_RETURN_IF_ERROR(Apply(*byte_level_split_, scratch, &pieces));
  }
  words->words.insert(words->words.end(), pieces.begin(), pieces.end());
  return Status::Ok();
}

}  // namespace steelyard
