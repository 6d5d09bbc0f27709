// JSON in and out, with errors that name the file and the place. The one header that includes
// nlohmann's.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "steelyard/base/status.h"

namespace steelyard {

/// Keeps the order of keys, so that what is written is stable.
using OrderedJson = nlohmann::ordered_json;
using Json = nlohmann::json;

/// Parses `text`; `source` (a path, or "path:line") stands in the error before the place and the
/// rule. Nesting deeper than 64 levels, text that is not UTF-8 and a key that an object has twice
/// are refused.
Result<Json> ParseJson(std::string_view text, std::string_view source);

Result<Json> ReadJsonFile(const std::filesystem::path& path);

}  // namespace steelyard
