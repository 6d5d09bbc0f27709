#include "trace/json_loads.h"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace steelyard {
namespace {

// Nested JSON arrays on their way to counts. `place` is where the walk stands.
struct JsonWalk {
  std::string_view name;
  CountArray counts;
  std::vector<size_t> place = {};

  Status Fail(std::string_view rule) const {
    std::string text(name);
    for (const size_t index : place) {
      text += fmt::format("[{}]", index);
    }
    return InvalidArgument(fmt::format("{}: {}", text, rule));
  }
};

// Appends what `json` holds. The extent of each depth is set by the first array met there, and all
// others must agree.
Status Flatten(const Json& json, JsonWalk& walk) {
  constexpr size_t kMaxDepth = 3;
  const size_t depth = walk.place.size();
  std::vector<size_t>& shape = walk.counts.shape;
  std::vector<double>& values = walk.counts.values;
  if (!json.is_array()) {
    if (depth == 0 || depth != shape.size()) {
      return walk.Fail(fmt::format("{} where an array belongs", json.type_name()));
    }
    if (!json.is_number()) {
      return walk.Fail(fmt::format("{} is not a number", json.type_name()));
    }
    values.push_back(json.get<double>());
    return Status::Ok();
  }
  if (depth == shape.size() && values.empty() && depth < kMaxDepth) {
    shape.push_back(json.size());
  }
  if (depth >= shape.size()) {
    return walk.Fail("array where a number belongs");
  }
  if (json.size() != shape[depth]) {
    return walk.Fail(
        fmt::format("{} entries, but those before it have {}", json.size(), shape[depth]));
  }
  for (size_t i = 0; i < json.size(); ++i) {
    walk.place.push_back(i);
    STEELYARD_RETURN_IF_ERROR(Flatten(json[i], walk));
    walk.place.pop_back();
  }
  return Status::Ok();
}

}  // namespace

Result<CountArray> CountsOfJson(const Json& json) {
  constexpr const char* kSglangKey = "logical_count";
  if (json.is_object() && !json.contains(kSglangKey)) {
    return InvalidArgument(
        "loads are an array, or an object with \"logical_count\" as SGLang writes it; this object "
        "has none");
  }
  const bool wrapped = json.is_object();
  JsonWalk walk{.name = wrapped ? kSglangKey : "loads", .counts = {}};
  STEELYARD_RETURN_IF_ERROR(Flatten(wrapped ? json.at(kSglangKey) : json, walk));
  return std::move(walk.counts);
}

}  // namespace steelyard
