#include "engine/checkpoint/json_field.h"

#include <fmt/format.h>

namespace steelyard {
namespace {

constexpr size_t kMaxQuotedBytes = 80;

// What a value is, in the words of the rules.
std::string Describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return Quoted(value.get_ref<const std::string&>());
    default:
      return value.dump();  // numbers and booleans
  }
}

// Keys of strangers may hold anything; plain ones stay as they are.
std::string PlainOrQuoted(std::string_view key) {
  for (const char c : key) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '_' || c == '-' || c == '.';
    if (!plain) {
      return Quoted(key);
    }
  }
  return key.empty() || key.size() > kMaxQuotedBytes ? Quoted(key) : std::string(key);
}

}  // namespace

std::string Quoted(std::string_view text) {
  std::string_view shown = text.substr(0, kMaxQuotedBytes);
  if (shown.size() < text.size()) {  // never cut a character in two
    while (!shown.empty() && (static_cast<unsigned char>(text[shown.size()]) & 0xC0) == 0x80) {
      shown.remove_suffix(1);
    }
  }
  std::string quoted =
      Json(std::string(shown)).dump(-1, ' ', false, Json::error_handler_t::replace);
  if (shown.size() < text.size()) {
    quoted.insert(quoted.size() - 1, "...");
  }
  return quoted;
}

std::string JsonField::PlaceOf(std::string_view key) const {
  const std::string name = PlainOrQuoted(key);
  return place_.empty() ? name : fmt::format("{}.{}", place_, name);
}

Status JsonField::Error(std::string_view rule) const {
  return InvalidArgument(place_.empty() ? fmt::format("{}: {}", source_, rule)
                                        : fmt::format("{}: {}: {}", source_, place_, rule));
}

Status JsonField::ErrorAt(std::string_view key, std::string_view rule) const {
  return InvalidArgument(fmt::format("{}: {}: {}", source_, PlaceOf(key), rule));
}

Status JsonField::RequireObject() const {
  return value_->is_object()
             ? Status::Ok()
             : Error(fmt::format("must be an object, but is {}", Describe(*value_)));
}

Result<JsonField> JsonField::Member(std::string_view key) const {
  STEELYARD_RETURN_IF_ERROR(RequireObject());
  const auto found = value_->find(key);
  if (found == value_->end()) {
    return ErrorAt(key, "is missing");
  }
  return Child(*found, PlaceOf(key));
}

Result<std::optional<JsonField>> JsonField::Optional(std::string_view key) const {
  STEELYARD_RETURN_IF_ERROR(RequireObject());
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) {
    return std::optional<JsonField>();
  }
  return std::optional<JsonField>(Child(*found, PlaceOf(key)));
}

Result<std::vector<JsonField>> JsonField::Items() const {
  if (!value_->is_array()) {
    return Error(fmt::format("must be an array, but is {}", Describe(*value_)));
  }
  std::vector<JsonField> items;
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    items.push_back(Child((*value_)[i], fmt::format("{}[{}]", place_, i)));
  }
  return items;
}

Result<int64_t> JsonField::Integer(int64_t min, int64_t max) const {
  const bool fits = value_->is_number_integer() &&
                    (!value_->is_number_unsigned() || value_->get<uint64_t>() <= INT64_MAX);
  if (!fits || value_->get<int64_t>() < min || value_->get<int64_t>() > max) {
    return Error(
        fmt::format("must be an integer from {} to {}, but is {}", min, max, Describe(*value_)));
  }
  return value_->get<int64_t>();
}

Result<double> JsonField::Number(double min, double max) const {
  // Written so that NaN, which cannot come from JSON but may from a caller, is refused as well.
  if (!value_->is_number() || !(value_->get<double>() >= min && value_->get<double>() <= max)) {
    return Error(
        fmt::format("must be a number from {} to {}, but is {}", min, max, Describe(*value_)));
  }
  return value_->get<double>();
}

Result<bool> JsonField::Boolean() const {
  if (!value_->is_boolean()) {
    return Error(fmt::format("must be true or false, but is {}", Describe(*value_)));
  }
  return value_->get<bool>();
}

Result<std::string> JsonField::String() const {
  if (!value_->is_string()) {
    return Error(fmt::format("must be a string, but is {}", Describe(*value_)));
  }
  return value_->get<std::string>();
}

}  // namespace steelyard
