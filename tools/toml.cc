#include "toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/printable.h"

namespace steelyard {
namespace {

// The library goes down into tables by recursion, and every "a." of a key is one: this many bytes
// take less than 5 MiB of stack.
constexpr size_t kMostBytes = 32 << 10;

Status Fail(toml::source_index line, std::string_view rule) {
  return InvalidArgument(fmt::format("line {}: {}", line, rule));
}

// Nothing where `node` is a table, a list or a date. A whole number that is written as a float
// keeps its point.
std::optional<std::string> TextOf(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{:#}", number->get());
  if (const auto* is_true = node.as_boolean()) return fmt::format("{}", is_true->get());
  return std::nullopt;
}

Result<TomlEntry> MakeEntry(const toml::key& key, const toml::node& node) {
  TomlEntry entry{std::string(key.str()), {}, static_cast<int>(key.source().begin.line)};
  const auto add = [&entry](const toml::node& value) {
    std::optional<std::string> text = TextOf(value);
    if (!text) {
      return Fail(value.source().begin.line,
                  fmt::format("{}: neither text, a number, true or false, nor a list of these",
                              Printable(entry.key)));
    }
    entry.values.push_back(*std::move(text));
    return Status::Ok();
  };
  const toml::array* list = node.as_array();
  if (list == nullptr) {
    STEELYARD_RETURN_IF_ERROR(add(node));
    return entry;
  }
  for (const toml::node& value : *list) {
    STEELYARD_RETURN_IF_ERROR(add(value));
  }
  if (entry.values.empty()) {
    return Fail(node.source().begin.line,
                fmt::format("{}: the list is empty", Printable(entry.key)));
  }
  return entry;
}

}  // namespace

Result<std::vector<TomlTable>> ParseToml(std::string_view text) {
  if (text.size() > kMostBytes) {
    return InvalidArgument(fmt::format("it is larger than {} KiB", kMostBytes >> 10));
  }
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    // It quotes the file as it is, and cuts what is long within a character.
    return Fail(error.source().begin.line, Printable(error.description()));
  }
  // The library sorts by key.
  const auto is_earlier = [](const auto& a, const auto& b) { return a.line < b.line; };
  std::vector<TomlTable> tables = {{"", 1}};
  for (const auto& [key, node] : root) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      STEELYARD_ASSIGN_OR_RETURN(tables[0].entries.emplace_back(), MakeEntry(key, node));
      continue;
    }
    if (key.str().empty()) return Fail(key.source().begin.line, "a table without a name");
    TomlTable& named = tables.emplace_back();
    named.name = key.str();
    named.line = static_cast<int>(key.source().begin.line);
    for (const auto& [inner_key, inner_node] : *table) {
      STEELYARD_ASSIGN_OR_RETURN(named.entries.emplace_back(), MakeEntry(inner_key, inner_node));
    }
  }
  std::stable_sort(tables.begin() + 1, tables.end(), is_earlier);
  for (TomlTable& table : tables) {
    std::stable_sort(table.entries.begin(), table.entries.end(), is_earlier);
  }
  return tables;
}

}  // namespace steelyard
