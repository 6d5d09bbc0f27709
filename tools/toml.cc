#include "toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <system_error>
#include <utility>

namespace steelyard {
namespace {

constexpr size_t kMostShown = 40;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsOfBareKey(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

// Passes over the digits at the start of `text`, with single underscores between them; false where
// there are none.
bool TakeDigits(std::string_view& text) {
  size_t size = 0;
  while (size < text.size() && (IsDigit(text[size]) || (text[size] == '_' && size > 0))) {
    if (text[size] == '_' && (size + 1 == text.size() || !IsDigit(text[size + 1]))) {
      return false;
    }
    ++size;
  }
  text.remove_prefix(size);
  return size > 0;
}

// A decimal number as TOML writes it: no leading zeros, digits on both sides of a point.
bool IsNumber(std::string_view text) {
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    text.remove_prefix(1);
  }
  if (text == "inf" || text == "nan") {
    return true;
  }
  if ((text.size() > 1 && text[0] == '0' && (IsDigit(text[1]) || text[1] == '_')) ||
      !TakeDigits(text)) {
    return false;
  }
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!TakeDigits(text)) {
      return false;
    }
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(text.size() > 1 && (text[1] == '+' || text[1] == '-') ? 2 : 1);
    if (!TakeDigits(text)) {
      return false;
    }
  }
  return text.empty();
}

// False where `code` is no character.
bool AppendUtf8(uint32_t code, std::string& text) {
  const auto append = [&text](uint32_t byte) { text += static_cast<char>(byte); };
  const auto follow = [&append, code](int shift) { append(0x80 | (code >> shift & 0x3F)); };
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
    return false;
  }
  if (code < 0x80) {
    append(code);
  } else if (code < 0x800) {
    append(0xC0 | code >> 6);
    follow(0);
  } else if (code < 0x10000) {
    append(0xE0 | code >> 12);
    follow(6);
    follow(0);
  } else {
    append(0xF0 | code >> 18);
    follow(12);
    follow(6);
    follow(0);
  }
  return true;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<TomlTable>> Parse();

 private:
  bool AtEnd() const { return at_ == text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }
  bool Take(char c) {
    const bool is_there = !AtEnd() && text_[at_] == c;
    at_ += is_there ? 1 : 0;
    return is_there;
  }
  Status Fail(std::string_view rule) const {
    return InvalidArgument(fmt::format("line {}: {}", line_, rule));
  }

  void SkipBlanks();
  void SkipLines();
  Status EndLine(std::string_view what);
  Status Header();
  Status Entry();
  Result<std::string> Key();
  Status List(std::vector<std::string>& values);
  Result<std::string> Scalar();
  Result<std::string> Quoted(char quote);
  Result<uint32_t> Escaped();

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<TomlTable> tables_ = {{"", 1}};
};

// And a comment.
void Parser::SkipBlanks() {
  at_ = std::min(text_.find_first_not_of(" \t", at_), text_.size());
  if (Peek() == '#') {
    at_ = std::min(text_.find('\n', at_), text_.size());
  }
  if (text_.substr(at_, 2) == "\r\n") {
    ++at_;
  }
}

void Parser::SkipLines() {
  for (SkipBlanks(); Take('\n'); SkipBlanks()) {
    ++line_;
  }
}

Status Parser::EndLine(std::string_view what) {
  SkipBlanks();
  return AtEnd() || Peek() == '\n' ? Status::Ok()
                                   : Fail(fmt::format("more follows {} on its line", what));
}

Result<std::vector<TomlTable>> Parser::Parse() {
  for (SkipLines(); !AtEnd(); SkipLines()) {
    STEELYARD_RETURN_IF_ERROR(Peek() == '[' ? Header() : Entry());
  }
  return std::move(tables_);
}

Status Parser::Header() {
  Take('[');
  if (Peek() == '[') {
    return Fail("lists of tables are not supported");
  }
  SkipBlanks();
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, Key());
  SkipBlanks();
  if (!Take(']')) {
    return Fail(fmt::format("[{}: no ] follows", name));
  }
  const auto same = std::find_if(tables_.begin() + 1, tables_.end(),
                                 [&name](const TomlTable& table) { return table.name == name; });
  if (same != tables_.end()) {
    return Fail(fmt::format("[{}] is there twice, first in line {}", name, same->line));
  }
  tables_.push_back({name, line_});
  return EndLine(fmt::format("[{}]", name));
}

Status Parser::Entry() {
  TomlEntry entry{{}, {}, line_};
  STEELYARD_ASSIGN_OR_RETURN(entry.key, Key());
  std::vector<TomlEntry>& entries = tables_.back().entries;
  for (const TomlEntry& other : entries) {
    if (other.key == entry.key) {
      return Fail(fmt::format("{} is there twice, first in line {}", entry.key, other.line));
    }
  }
  SkipBlanks();
  if (!Take('=')) {
    return Fail(fmt::format("no = follows {}", entry.key));
  }
  SkipBlanks();
  if (Take('[')) {
    STEELYARD_RETURN_IF_ERROR(List(entry.values));
  } else {
    STEELYARD_ASSIGN_OR_RETURN(entry.values.emplace_back(), Scalar());
  }
  STEELYARD_RETURN_IF_ERROR(EndLine(fmt::format("the value of {}", entry.key)));
  entries.push_back(std::move(entry));
  return Status::Ok();
}

Result<std::string> Parser::Key() {
  if (Peek() == '"' || Peek() == '\'') {
    return Quoted(text_[at_++]);
  }
  const size_t begin = at_;
  while (!AtEnd() && IsOfBareKey(text_[at_])) {
    ++at_;
  }
  if (at_ == begin) {
    return Fail("a key, or [ and the name of a table, must begin the line");
  }
  return std::string(text_.substr(begin, at_ - begin));
}

Status Parser::List(std::vector<std::string>& values) {
  for (SkipLines(); !Take(']'); SkipLines()) {
    if (AtEnd()) {
      return Fail("no ] ends the list");
    }
    STEELYARD_ASSIGN_OR_RETURN(values.emplace_back(), Scalar());
    SkipLines();
    if (!AtEnd() && !Take(',') && Peek() != ']') {
      return Fail("neither , nor ] follows an entry of the list");
    }
  }
  return values.empty() ? Fail("the list is empty") : Status::Ok();
}

Result<std::string> Parser::Scalar() {
  if (text_.substr(at_, 3) == "\"\"\"" || text_.substr(at_, 3) == "'''") {
    return Fail("text over several lines is not supported");
  }
  if (Peek() == '"' || Peek() == '\'') {
    return Quoted(text_[at_++]);
  }
  const size_t end = std::min(text_.find_first_of(" \t\r\n,]#", at_), text_.size());
  std::string word(text_.substr(at_, end - at_));
  if (word != "true" && word != "false" && !IsNumber(word)) {
    return Fail(word.empty()
                    ? "a value is missing"
                    : fmt::format("{}: neither a number, nor true or false, nor text in quotes",
                                  word.substr(0, kMostShown)));
  }
  at_ = end;
  std::erase(word, '_');
  return word.starts_with('+') ? word.substr(1) : word;
}

Result<std::string> Parser::Quoted(char quote) {
  std::string text;
  while (!Take(quote)) {
    const char c = Peek();
    if (AtEnd() || c == '\n' || c == '\r') {
      return Fail(fmt::format("no {} ends the text", quote));
    }
    ++at_;
    if (c != '\\' || quote == '\'') {
      text += c;
      continue;
    }
    STEELYARD_ASSIGN_OR_RETURN(const uint32_t code, Escaped());
    if (!AppendUtf8(code, text)) {
      return Fail(fmt::format("U+{:04X} is no character", code));
    }
  }
  return text;
}

// What stands after a backslash.
Result<uint32_t> Parser::Escaped() {
  const char kind = Peek();
  constexpr std::string_view kKinds = "btnfr\"\\";
  constexpr std::string_view kMeant = "\b\t\n\f\r\"\\";
  if (const size_t i = kKinds.find(kind); !AtEnd() && i != std::string_view::npos) {
    ++at_;
    return static_cast<uint32_t>(kMeant[i]);
  }
  const size_t num_digits = kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
  const std::string_view digits = text_.substr(std::min(at_ + 1, text_.size()), num_digits);
  uint32_t code = 0;
  const auto [rest, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (num_digits == 0 || digits.size() != num_digits || error != std::errc() ||
      rest != digits.data() + digits.size()) {
    return Fail("a backslash begins nothing that is known; \\\\ is one itself");
  }
  at_ += 1 + num_digits;
  return code;
}

}  // namespace

Result<std::vector<TomlTable>> ParseToml(std::string_view text) { return Parser(text).Parse(); }

}  // namespace steelyard
