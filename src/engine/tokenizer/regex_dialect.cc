#include "engine/tokenizer/regex_dialect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/checkpoint/json_field.h"

namespace steelyard {
namespace {

constexpr std::string_view kSharedEscapes = "dDpPnrtfaex";
constexpr std::array<std::string_view, 7> kSharedGroups = {"(?:",  "(?i:", "(?=", "(?!",
                                                           "(?<=", "(?<!", "(?>"};

bool IsLetterOrDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  Result<std::string> Run() {
    while (!rest_.empty()) {
      STEELYARD_RETURN_IF_ERROR(in_class_ ? StepInClass() : StepOutside());
    }
    return out_;
  }

 private:
  static Status Refuse(std::string_view part, std::string_view why) {
    return InvalidArgument(fmt::format("{} in a pattern is not supported: {}", Quoted(part), why));
  }

  void Take(size_t length) {
    length = std::min(length, rest_.size());
    out_ += rest_.substr(0, length);
    rest_.remove_prefix(length);
  }

  Status StepOutside() {
    switch (rest_.front()) {
      case '\\':
        return StepEscape();
      case '^':
      case '$':
        return Refuse(rest_.substr(0, 1), "what a line is differs between engines");
      case '[':
        in_class_ = true;
        Take(rest_.starts_with("[^") ? 2 : 1);
        if (rest_.starts_with(']')) {
          return Refuse("[]", "what an empty class is differs between engines");
        }
        return Status::Ok();
      case '(':
        return StepGroup();
      case '}':
        if (rest_.starts_with("}+")) {
          return Refuse("}+", "engines differ on whether it is possessive");
        }
        break;
      default:
        break;
    }
    Take(1);
    return Status::Ok();
  }

  Status StepInClass() {
    switch (rest_.front()) {
      case '\\':
        return StepEscape();
      case '[':
        return Refuse("[", "a class in a class");
      case '&':
        if (rest_.starts_with("&&")) {
          return Refuse("&&", "an intersection of classes");
        }
        break;
      case ']':
        in_class_ = false;
        break;
      default:
        break;
    }
    Take(1);
    return Status::Ok();
  }

  Status StepGroup() {
    if (!rest_.starts_with("(?") && !rest_.starts_with("(*")) {
      Take(1);
      return Status::Ok();
    }
    for (const std::string_view group : kSharedGroups) {
      if (rest_.starts_with(group)) {
        Take(group.size());
        return Status::Ok();
      }
    }
    return Refuse(rest_.substr(0, 3), "engines differ on this kind of group");
  }

  Status StepEscape() {
    if (rest_.size() < 2) {
      return Refuse("\\", "it escapes nothing");
    }
    const char escaped = rest_[1];
    if (escaped == 's' || escaped == 'S') {
      // PCRE2 counts U+180E as white space, which Unicode and Oniguruma do not.
      out_ += escaped == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
      rest_.remove_prefix(2);
      return Status::Ok();
    }
    if (IsLetterOrDigit(escaped) && kSharedEscapes.find(escaped) == std::string_view::npos) {
      return Refuse(rest_.substr(0, 2), "engines differ on this escape");
    }
    Take(2);
    if (rest_.starts_with('{') && (escaped == 'p' || escaped == 'P' || escaped == 'x')) {
      Take(rest_.find('}') + 1);  // npos + 1 is 0: PCRE2 will say what is missing
    }
    return Status::Ok();
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

Result<std::string> ToPcre2Pattern(std::string_view oniguruma) {
  return Translator(oniguruma).Run();
}

}  // namespace steelyard
