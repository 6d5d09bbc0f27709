#include "trace/npy_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxExtents = 32;  // as in NumPy
constexpr size_t kMaxDigits = 18;   // so that no number overflows 64 bits
constexpr size_t kAlignment = 64;

bool IsDigit(char c) { return '0' <= c && c <= '9'; }

// The few forms of Python's literals that occur in a header.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool Take(std::string_view token) {
    SkipSpace();
    if (text_.substr(0, token.size()) != token) {
      return false;
    }
    text_.remove_prefix(token.size());
    return true;
  }

  std::optional<std::string> TakeString() {
    SkipSpace();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) {
      return std::nullopt;
    }
    const size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) {
      return std::nullopt;
    }
    const std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }

  std::optional<size_t> TakeNumber() {
    SkipSpace();
    const auto end = std::find_if_not(text_.begin(), text_.end(), IsDigit);
    const auto num_digits = static_cast<size_t>(end - text_.begin());
    if (num_digits == 0 || num_digits > kMaxDigits) {
      return std::nullopt;
    }
    const size_t value =
        std::strtoull(std::string(text_.substr(0, num_digits)).c_str(), nullptr, 10);
    text_.remove_prefix(num_digits);
    return value;
  }

  bool AtEnd() {
    SkipSpace();
    return text_.empty();
  }

 private:
  void SkipSpace() {
    text_.remove_prefix(std::min(text_.find_first_not_of(" \t\n"), text_.size()));
  }

  std::string_view text_;
};

Status NotSupported(std::string_view descr) {
  constexpr size_t kMaxNamed = 16;
  const bool printable =
      std::all_of(descr.begin(), descr.end(), [](char c) { return ' ' < c && c <= '~'; });
  return InvalidArgument(fmt::format(
      "descr: type{} is not supported (integers i1 to i8 and u1 to u8, floats f2, f4 and f8, and "
      "text U are)",
      printable && descr.size() <= kMaxNamed ? fmt::format(" '{}'", descr) : ""));
}

// "<f4": byte order, kind, bytes of an entry (of text: characters of four bytes).
Status ParseDescr(std::string_view descr, NpyHeader& header) {
  Scanner number(descr.size() > 2 ? descr.substr(2) : "");
  const std::optional<size_t> width = number.TakeNumber();
  if (descr.size() < 3 || !width.has_value() || !number.AtEnd()) {
    return NotSupported(descr);
  }
  const char order = descr[0];
  const char kind = descr[1];
  const bool is_integer =
      (kind == 'i' || kind == 'u') && (*width == 1 || *width == 2 || *width == 4 || *width == 8);
  const bool is_float = kind == 'f' && (*width == 2 || *width == 4 || *width == 8);
  const bool is_text = kind == 'U' && *width >= 1;
  const bool has_order = order == '<' || order == '>' || (order == '|' && *width == 1);
  if (!has_order || !(is_integer || is_float || is_text)) {
    return NotSupported(descr);
  }
  header.type = {.kind = kind, .item_bytes = is_text ? 4 * *width : *width};
  header.big_endian = order == '>';
  return Status::Ok();
}

Status ParseShape(Scanner& scanner, NpyHeader& header) {
  const Status bad = InvalidArgument("shape: it is not a tuple of lengths");
  if (!scanner.Take("(")) {
    return bad;
  }
  while (!scanner.Take(")")) {
    const std::optional<size_t> extent = scanner.TakeNumber();
    if (!extent.has_value()) {
      return bad;
    }
    header.shape.push_back(*extent);
    if (header.shape.size() > kMaxExtents) {
      return InvalidArgument(fmt::format("shape: more than {} extents", kMaxExtents));
    }
    if (!scanner.Take(",")) {
      if (!scanner.Take(")")) {
        return bad;
      }
      break;
    }
  }
  return Status::Ok();
}

Status ParseValue(std::string_view key, Scanner& scanner, NpyHeader& header) {
  if (key == "descr") {
    const std::optional<std::string> descr = scanner.TakeString();
    if (!descr.has_value()) {
      return InvalidArgument("descr: types of several fields are not supported");
    }
    return ParseDescr(*descr, header);
  }
  if (key == "fortran_order") {
    header.fortran_order = scanner.Take("True");
    if (!header.fortran_order && !scanner.Take("False")) {
      return InvalidArgument("fortran_order: it is neither True nor False");
    }
    return Status::Ok();
  }
  if (key == "shape") {
    return ParseShape(scanner, header);
  }
  return InvalidArgument("the header has a key other than descr, fortran_order and shape");
}

Status ParseDictionary(std::string_view text, NpyHeader& header) {
  const Status bad = InvalidArgument("the header is not a dictionary of Python");
  Scanner scanner(text);
  if (!scanner.Take("{")) {
    return bad;
  }
  std::vector<std::string> keys;
  while (!scanner.Take("}")) {
    const std::optional<std::string> key = scanner.TakeString();
    if (!key.has_value() || !scanner.Take(":")) {
      return bad;
    }
    if (std::find(keys.begin(), keys.end(), *key) != keys.end()) {
      return InvalidArgument("the header has a key twice");
    }
    keys.push_back(*key);
    STEELYARD_RETURN_IF_ERROR(ParseValue(*key, scanner, header));
    if (!scanner.Take(",")) {
      if (!scanner.Take("}")) {
        return bad;
      }
      break;
    }
  }
  if (!scanner.AtEnd()) {
    return bad;
  }
  if (keys.size() != 3) {
    return InvalidArgument("the header lacks one of descr, fortran_order and shape");
  }
  return Status::Ok();
}

}  // namespace

std::string NpyType::ToString() const {
  return fmt::format("{}{}", kind, kind == 'U' ? item_bytes / 4 : item_bytes);
}

Result<NpyHeader> ParseNpyHeader(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  constexpr size_t kVersionAt = kMagic.size();
  constexpr size_t kLengthAt = kVersionAt + 2;
  if (text.substr(0, kMagic.size()) != kMagic) {
    return InvalidArgument("it does not begin as a .npy file does");
  }
  const int version = text.size() > kVersionAt ? text[kVersionAt] : 0;
  if (text.size() > kVersionAt && (version < 1 || version > 3)) {
    return InvalidArgument(fmt::format("version {} of the format is not supported", version));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (text.size() < kLengthAt + length_bytes) {
    return InvalidArgument("the file ends within its header");
  }
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    length |= std::to_integer<size_t>(file[kLengthAt + i]) << (8 * i);
  }
  NpyHeader header;
  header.size_bytes = kLengthAt + length_bytes + length;
  if (text.size() < header.size_bytes) {
    return InvalidArgument("the file ends within its header");
  }
  STEELYARD_RETURN_IF_ERROR(ParseDictionary(text.substr(kLengthAt + length_bytes, length), header));
  return header;
}

std::string FormatNpyHeader(const NpyType& type, std::span<const size_t> shape) {
  STEELYARD_CHECK_GE(kMaxExtents, shape.size());
  std::string dictionary = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': (",
                                       type.item_bytes == 1 ? '|' : '<', type.ToString());
  for (size_t i = 0; i < shape.size(); ++i) {
    dictionary += fmt::format("{}{}", shape[i], shape.size() == 1 ? "," : "");
    dictionary += i + 1 < shape.size() ? ", " : "";
  }
  dictionary += "), }";
  const size_t fixed = kMagic.size() + 4;  // and the version, and the length
  const size_t used = fixed + dictionary.size() + 1;
  dictionary.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  dictionary += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\x00';
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

}  // namespace steelyard
