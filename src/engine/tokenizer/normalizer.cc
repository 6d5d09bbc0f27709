#include "engine/tokenizer/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

namespace steelyard {
namespace {

struct FreeC {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }
};

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Whether `field` asks for NFC. Its depth is bounded by that of the JSON.
Result<bool> ParseNfc(const JsonField& field) {
  STEELYARD_ASSIGN_OR_RETURN(const JsonField type, field.Member("type"));
  STEELYARD_ASSIGN_OR_RETURN(const std::string name, type.String());
  if (name == "NFC") {
    return true;
  }
  if (name != "Sequence") {
    return type.Error(
        fmt::format("normalizer {} is not supported; supported: NFC, Sequence", Quoted(name)));
  }
  STEELYARD_ASSIGN_OR_RETURN(const JsonField list, field.Member("normalizers"));
  STEELYARD_ASSIGN_OR_RETURN(const std::vector<JsonField> parts, list.Items());
  bool nfc = false;
  for (const JsonField& part : parts) {
    STEELYARD_ASSIGN_OR_RETURN(const bool part_nfc, ParseNfc(part));
    nfc |= part_nfc;  // composing twice changes nothing
  }
  return nfc;
}

}  // namespace

Result<Normalizer> Normalizer::Parse(const std::optional<JsonField>& field) {
  Normalizer normalizer;
  if (field.has_value()) {
    STEELYARD_ASSIGN_OR_RETURN(normalizer.nfc_, ParseNfc(*field));
  }
  return normalizer;
}

Result<std::string> Normalizer::Apply(std::string_view text) const {
  if (!nfc_ || IsAscii(text)) {
    return std::string(text);
  }
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, FreeC> owner(composed);
  if (size < 0) {
    return Internal(fmt::format("cannot normalize a text: {}", utf8proc_errmsg(size)));
  }
  return std::string(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
}

}  // namespace steelyard
