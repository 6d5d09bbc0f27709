// JSON in and out, with errors that name the file and the place. The one header that includes
// nlohmann's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "steelyard/base/status.h"

namespace steelyard {

/// Keeps the order of keys, so that what is written is stable.
using OrderedJson = nlohmann::ordered_json;
using Json = nlohmann::json;

/// Parses `text`, which starts on line `first_line` of what is called `name`, a path: both stand in
/// the error, before the rule. Nesting deeper than 64 levels, text that is not UTF-8, a zero byte
/// and a key that an object has twice are refused.
Result<Json> ParseJson(std::string_view text, std::string_view name, int64_t first_line = 1);

Result<Json> ReadJsonFile(const std::filesystem::path& path);

}  // namespace steelyard
