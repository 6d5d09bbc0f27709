// What readers and writers of placements in JSON share: fields of the right type, with the place in
// the message.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// An int that fits, at least `low`; `place` says where it stood.
Result<int> IntAt(const Json& value, int low, std::string_view place);

/// `object` is an object, has every key of `required`, and none that is in neither list. `place`
/// begins the message, and may be empty.
Status CheckKeys(const Json& object, std::string_view place,
                 std::initializer_list<std::string_view> required,
                 std::initializer_list<std::string_view> optional);

/// An array of ints at least `low`.
Result<std::vector<int32_t>> IntsAt(const Json& value, int low, std::string_view place);

/// An array of numbers.
Result<std::vector<double>> NumbersAt(const Json& value, std::string_view place);

/// Appends "a,b,c", or with another separator. Of a double the shortest text that reads back as the
/// same bits.
template <typename Values>
void AppendList(const Values& values, std::string& text, std::string_view separator = ",") {
  bool is_first = true;
  for (const auto value : values) {
    fmt::format_to(std::back_inserter(text), "{}{}", is_first ? "" : separator, value);
    is_first = false;
  }
}

}  // namespace steelyard
