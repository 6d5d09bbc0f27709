// A value of a JSON file together with the words that name it, so that every complaint about it
// reads "FILE: PLACE: rule".
//
// Used for the JSON files of a checkpoint folder and for request lines, all of which come from
// strangers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// `text` between double quotes on one line: control characters escaped, cut where it is long. For
/// error messages.
std::string Quoted(std::string_view text);

/// Does not own the value: the Json that it was made from must outlive it.
class JsonField {
 public:
  /// `source` names the file (or file and line); `place` is the path of keys to the value, empty at
  /// the top.
  JsonField(const Json& value, std::string source, std::string place = "")
      : value_(&value), source_(std::move(source)), place_(std::move(place)) {}

  const Json& value() const { return *value_; }

  /// kInvalidArgument "SOURCE: PLACE: RULE".
  Status Error(std::string_view rule) const;
  /// The same, naming the member `key` of this object.
  Status ErrorAt(std::string_view key, std::string_view rule) const;

  /// The value must be an object that has `key`; a null counts as there.
  Result<JsonField> Member(std::string_view key) const;
  /// The value must be an object; nothing where `key` is absent or null.
  Result<std::optional<JsonField>> Optional(std::string_view key) const;
  /// The value must be an array.
  Result<std::vector<JsonField>> Items() const;

  Status RequireObject() const;
  /// A JSON integer (true and 1.0 are none) in [min, max].
  Result<int64_t> Integer(int64_t min, int64_t max) const;
  /// Any JSON number in [min, max].
  Result<double> Number(double min, double max) const;
  Result<bool> Boolean() const;
  Result<std::string> String() const;

 private:
  JsonField Child(const Json& value, std::string place) const {
    return JsonField(value, source_, std::move(place));
  }
  std::string PlaceOf(std::string_view key) const;

  const Json* value_;
  std::string source_;
  std::string place_;
};

}  // namespace steelyard
