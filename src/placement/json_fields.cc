#include "placement/json_fields.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace steelyard {
namespace {

std::string Begin(std::string_view place) {
  return place.empty() ? std::string() : fmt::format("{}: ", place);
}

Status CheckArray(const Json& value, std::string_view place) {
  return value.is_array() ? Status::Ok()
                          : InvalidArgument(fmt::format("{}: it is not an array", place));
}

}  // namespace

Result<int> IntAt(const Json& value, int low, std::string_view place) {
  constexpr int kMax = std::numeric_limits<int>::max();
  if (!value.is_number_integer()) {
    return InvalidArgument(fmt::format("{}: {} is not an integer", place, value.type_name()));
  }
  const bool too_large = value.is_number_unsigned() ? value.get<uint64_t>() > uint64_t{kMax}
                                                    : value.get<int64_t>() > kMax;
  if (too_large || value.get<int64_t>() < low) {
    return InvalidArgument(
        fmt::format("{}: {} is outside [{}, {}]", place, value.dump(), low, kMax));
  }
  return value.get<int>();
}

Status CheckKeys(const Json& object, std::string_view place,
                 std::initializer_list<std::string_view> required,
                 std::initializer_list<std::string_view> optional) {
  if (!object.is_object()) {
    return InvalidArgument(Begin(place) + "it is not a JSON object");
  }
  const auto is_in = [](const std::string& key, std::initializer_list<std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (const auto& [key, value] : object.items()) {
    if (!is_in(key, required) && !is_in(key, optional)) {
      return InvalidArgument(fmt::format("{}key {} is unknown", Begin(place), Json(key).dump()));
    }
  }
  for (const std::string_view key : required) {
    if (!object.contains(key)) {
      return InvalidArgument(fmt::format("{}key \"{}\" is missing", Begin(place), key));
    }
  }
  return Status::Ok();
}

Result<std::vector<int32_t>> IntsAt(const Json& value, int low, std::string_view place) {
  STEELYARD_RETURN_IF_ERROR(CheckArray(value, place));
  std::vector<int32_t> ints;
  ints.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    STEELYARD_ASSIGN_OR_RETURN(const int entry,
                               IntAt(value[i], low, fmt::format("{}[{}]", place, i)));
    ints.push_back(entry);
  }
  return ints;
}

Result<std::vector<double>> NumbersAt(const Json& value, std::string_view place) {
  STEELYARD_RETURN_IF_ERROR(CheckArray(value, place));
  std::vector<double> numbers;
  numbers.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is_number()) {
      return InvalidArgument(
          fmt::format("{}[{}]: {} is not a number", place, i, value[i].type_name()));
    }
    numbers.push_back(value[i].get<double>());
  }
  return numbers;
}

}  // namespace steelyard
