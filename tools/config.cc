#include "config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/printable.h"
#include "command.h"
#include "toml.h"

namespace steelyard {
namespace {

class ConfigReader final : public CLI::ConfigTOML {
 public:
  ConfigReader(CLI::App& app, std::function<void(CLI::App&)> add_commands)
      : app_(app), add_commands_(std::move(add_commands)) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  void CheckEntry(const std::string& command, const TomlEntry& entry,
                  const std::string& place) const;

  CLI::App& app_;
  const std::function<void(CLI::App&)> add_commands_;
};

// Gives the value to a subcommand that is never run: the one that was chosen looks only at what the
// command line leaves open.
void ConfigReader::CheckEntry(const std::string& command, const TomlEntry& entry,
                              const std::string& place) const {
  CLI::App scratch;
  add_commands_(scratch);
  CLI::App* chosen = scratch.get_subcommand(command);
  const std::string option = "--" + entry.key;
  if (entry.key == "help" || chosen->get_option_no_throw(option) == nullptr) {
    throw UsageError{
        fmt::format("{}: {}: not an option of {}", place, Printable(entry.key), command)};
  }
  // Once all is read, and before the subcommand would run. Its body stays: that owns its options.
  scratch.parse_complete_callback([] { throw CLI::Success(); });
  for (CLI::Option* other : chosen->get_options()) {
    other->required(false);
    for (CLI::Option* needed : other->get_needs()) {
      other->remove_needs(needed);
    }
  }
  const bool is_flag = chosen->get_option(option)->get_expected_min() == 0;
  std::vector<std::string> args = {command};
  for (const std::string& value : entry.values) {
    args.push_back(is_flag ? fmt::format("{}={}", option, value) : option);
    if (!is_flag) {
      args.push_back(value);
    }
  }
  std::reverse(args.begin(), args.end());  // as the library takes them
  try {
    scratch.parse(std::move(args));
  } catch (const CLI::Success&) {
    return;
  } catch (const CLI::ParseError& error) {
    throw UsageError{fmt::format("{}: {}", place, error.what())};
  } catch (const UsageError& error) {
    throw UsageError{fmt::format("{}: {}", place, error.message)};
  }
}

std::vector<CLI::ConfigItem> ConfigReader::from_config(std::istream& input) const {
  const std::string file = app_["--config"]->as<std::string>();
  const std::string text(std::istreambuf_iterator<char>(input), {});
  const Result<std::vector<TomlTable>> tables = ParseToml(text);
  if (!tables.ok()) {
    throw UsageError{fmt::format("{}: {}", file, tables.status().message())};
  }
  const std::vector<CLI::App*> chosen = app_.get_subcommands();
  std::vector<CLI::ConfigItem> kept;
  for (const TomlTable& table : *tables) {
    if (!table.name.empty() && !HasCommand(app_, table.name)) {
      throw UsageError{fmt::format("{}: line {}: [{}]: no such subcommand", file, table.line,
                                   Printable(table.name))};
    }
    if (chosen.empty() || (!table.name.empty() && table.name != chosen[0]->get_name())) {
      continue;
    }
    for (const TomlEntry& entry : table.entries) {
      const std::string place = fmt::format("{}: line {}", file, entry.line);
      for (const CLI::ConfigItem& item : kept) {
        if (item.name == entry.key) {
          throw UsageError{fmt::format("{}: {} is there twice: at the top, and under [{}]", place,
                                       entry.key, table.name)};
        }
      }
      CheckEntry(chosen[0]->get_name(), entry, place);
      CLI::ConfigItem& item = kept.emplace_back();
      item.parents = {chosen[0]->get_name()};
      item.name = entry.key;
      item.inputs = entry.values;
    }
  }
  return kept;
}

}  // namespace

std::shared_ptr<CLI::Config> MakeConfigReader(CLI::App& app,
                                              std::function<void(CLI::App&)> add_commands) {
  return std::make_shared<ConfigReader>(app, std::move(add_commands));
}

}  // namespace steelyard
