// The part of TOML that files of options need: tables, keys, and as values strings, numbers, true
// and false, and lists of these.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "steelyard/base/status.h"

namespace steelyard {

struct TomlEntry {
  std::string key;
  std::vector<std::string> values;  // as text, integers in decimal; one, or those of a list
  int line = 0;                     // from 1
};

struct TomlTable {
  std::string name;  // empty for what stands above all tables
  int line = 0;
  std::vector<TomlEntry> entries = {};  // by line
};

/// All tables by line, first the one without a name. Fails with kInvalidArgument, naming the line
/// and the rule, for what is no TOML, which includes a key or table that is there twice, and for
/// what is TOML beyond the above (tables without a name, in tables or in lists, dates, lists that
/// are empty or hold lists); and for text of more than 32 KiB.
Result<std::vector<TomlTable>> ParseToml(std::string_view text);

}  // namespace steelyard
