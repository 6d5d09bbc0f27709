#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/printable.h"

namespace steelyard {
namespace {

constexpr int kMaxNesting = 64;

// Where a text is from.
struct Source {
  std::string_view name;
  int64_t first_line;
};

// "source: line L, column C: reason" for the byte at `offset`; columns count bytes from 1.
Status ErrorAt(const Source& source, std::string_view text, size_t offset,
               std::string_view reason) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const int64_t line = source.first_line + std::count(before.begin(), before.end(), '\n');
  const size_t last_newline = before.rfind('\n');
  const size_t column =
      last_newline == std::string_view::npos ? before.size() + 1 : before.size() - last_newline;
  return InvalidArgument(
      fmt::format("{}: line {}, column {}: {}", source.name, line, column, reason));
}

// The length of the UTF-8 sequence at the start of `text`, 0 when there is none (table 3-7 of the
// Unicode standard).
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return 1;
  }
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
  if (length == 0 || text.size() < length) {
    return 0;
  }
  // No overlong form, no surrogate, nothing above U+10FFFF: all three show in the second byte.
  const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) {
    return 0;
  }
  for (size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) {
      return 0;
    }
  }
  return length;
}

Status CheckUtf8(std::string_view text, const Source& source) {
  for (size_t i = 0; i < text.size();) {
    // The library would take it for the end.
    if (text[i] == '\0') return ErrorAt(source, text, i, "a zero byte");
    const size_t length = Utf8Length(text.substr(i));
    if (length == 0) {
      return ErrorAt(source, text, i, "the text is not UTF-8");
    }
    i += length;
  }
  return Status::Ok();
}

// Before parsing, because a deep value is costly to make and walked recursively by whoever reads
// it. Counts colons, each of which follows a key if the text is JSON.
Status CheckNesting(std::string_view text, const Source& source, size_t* num_keys) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxNesting) {
        return ErrorAt(source, text, i, fmt::format("nested deeper than {} levels", kMaxNesting));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ':') {
      ++*num_keys;
    }
  }
  return Status::Ok();
}

// Keys in all objects of `value`, each once.
size_t CountKeys(const Json& value) {
  size_t count = value.is_object() ? value.size() : 0;
  if (value.is_structured()) {
    for (const Json& child : value) {
      if (child.is_structured()) {
        count += CountKeys(child);
      }
    }
  }
  return count;
}

// Where the first key stands that its object has already. Requires: JSON that has one.
Status DuplicateKeyError(std::string_view text, const Source& source) {
  std::vector<std::set<std::string>> seen;  // of each object or array that is open
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[' || text[i] == '{') {
      seen.emplace_back();
    } else if (text[i] == ']' || text[i] == '}') {
      seen.pop_back();
    } else if (text[i] == '"') {
      const size_t begin = i;
      for (++i; text[i] != '"'; ++i) {
        i += text[i] == '\\' ? 1 : 0;
      }
      const size_t next = text.find_first_not_of(" \t\r\n", i + 1);
      const std::string_view quoted = text.substr(begin, i + 1 - begin);
      if (next != std::string_view::npos && text[next] == ':' &&
          !seen.back().insert(Json::parse(quoted).get<std::string>()).second) {
        return ErrorAt(source, text, begin,
                       fmt::format("key {} is there twice in one object", Printable(quoted)));
      }
    }
  }
  return Internal(fmt::format("{}: no key is there twice", source.name));
}

// nlohmann writes "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error
// ..."; the place is ours to write, and the text that it quotes may hold half of a character or be
// as long as the file.
std::string ReasonOf(std::string_view what) {
  constexpr std::string_view kColumn = ", column ";
  if (const size_t at = what.find("] "); at != std::string_view::npos) {
    what.remove_prefix(at + 2);
  }
  if (const size_t at = what.find(kColumn);
      what.starts_with("parse error at ") && at != what.npos) {
    if (const size_t colon = what.find(": ", at); colon != std::string_view::npos) {
      what.remove_prefix(colon + 2);
    }
  }
  return Printable(what);
}

// Reads along without building anything, to learn where parsing fails: a number out of range
// carries no place otherwise.
class ErrorFinder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    offset_ = position > 0 ? position - 1 : 0;  // counted from 1
    reason_ = ReasonOf(error.what());
    return false;
  }

  size_t offset() const { return offset_; }
  const std::string& reason() const { return reason_; }

 private:
  size_t offset_ = 0;
  std::string reason_ = "not JSON";
};

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view name, int64_t first_line) {
  const Source source = {name, first_line};
  STEELYARD_RETURN_IF_ERROR(CheckUtf8(text, source));
  size_t num_keys = 0;
  STEELYARD_RETURN_IF_ERROR(CheckNesting(text, source, &num_keys));
  Json value = Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    ErrorFinder finder;
    Json::sax_parse(text, &finder);
    return ErrorAt(source, text, finder.offset(), finder.reason());
  }
  if (CountKeys(value) != num_keys) {
    return DuplicateKeyError(text, source);
  }
  return value;
}

Result<Json> ReadJsonFile(const std::filesystem::path& path) {
  STEELYARD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJson(text, path.string());
}

}  // namespace steelyard
