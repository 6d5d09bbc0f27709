// Numbers as arguments give them: whole text only, and lists with commas.
#pragma once

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace steelyard {

/// False where `text` is more, or less, than one number of this type.
template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && rest == end;
}

/// "9,8,9", or with newlines instead, as a list in a configuration file arrives; false where an
/// entry is not a number or is missing.
template <typename Number>
bool ParseNumbers(std::string_view text, std::vector<Number>* numbers) {
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find_first_of(",\n", begin), text.size());
    if (!ParseNumber(text.substr(begin, comma - begin), &numbers->emplace_back())) {
      return false;
    }
    begin = comma + 1;
  }
  return true;
}

}  // namespace steelyard
