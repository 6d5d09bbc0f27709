#include <algorithm>
#include <set>
#include <string>

#include "fuzz/targets.h"
#include "steelyard/base/check.h"
#include "tools/toml.h"

namespace steelyard {
namespace {

void CheckRefusal(const std::string& message) {
  STEELYARD_CHECK(message.starts_with("line ") || message == "it is larger than 32 KiB");
  STEELYARD_CHECK(
      std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }));
}

void CheckEntries(const TomlTable& table, int num_lines) {
  std::set<std::string> keys;
  int line = table.line;
  for (const TomlEntry& entry : table.entries) {
    STEELYARD_CHECK(keys.insert(entry.key).second);
    STEELYARD_CHECK(!entry.values.empty());
    STEELYARD_CHECK_LE(line, entry.line);
    line = entry.line;
  }
  STEELYARD_CHECK_LE(line, num_lines);
}

}  // namespace

void FuzzToml(std::string_view bytes) {
  const Result<std::vector<TomlTable>> tables = ParseToml(bytes);
  if (!tables.ok()) {
    CheckRefusal(tables.status().message());
    return;
  }
  const int num_lines = 1 + static_cast<int>(std::count(bytes.begin(), bytes.end(), '\n'));
  STEELYARD_CHECK_EQ((*tables)[0].name, "");
  std::set<std::string> names;
  int line = 0;
  for (const TomlTable& table : *tables) {
    STEELYARD_CHECK(names.insert(table.name).second);
    STEELYARD_CHECK_LE(line, table.line);
    line = table.line;
    CheckEntries(table, num_lines);
  }
}

}  // namespace steelyard
