#include "config.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "command.h"

namespace steelyard {
namespace {

class ConfigReader final : public CLI::ConfigTOML {
 public:
  explicit ConfigReader(CLI::App& app) : app_(app) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  CLI::App& app_;
};

std::vector<CLI::ConfigItem> ConfigReader::from_config(std::istream& input) const {
  const std::string file = app_["--config"]->as<std::string>();
  const std::vector<CLI::App*> chosen = app_.get_subcommands();
  std::vector<CLI::ConfigItem> kept;
  for (CLI::ConfigItem& item : CLI::ConfigTOML::from_config(input)) {
    const std::string section = item.parents.empty() ? "" : item.parents.front();
    if (!section.empty() && !HasCommand(app_, section)) {
      throw UsageError{fmt::format("{}: [{}]: no such subcommand", file, section)};
    }
    // The library's marks of where a section opens and closes would run its subcommand.
    const bool is_mark = item.name == "++" || item.name == "--";
    if (chosen.empty() || is_mark || (!section.empty() && section != chosen[0]->get_name())) {
      continue;
    }
    if (item.parents.size() > 1 || chosen[0]->get_option_no_throw("--" + item.name) == nullptr) {
      throw UsageError{
          fmt::format("{}: {}: not an option of {}", file, item.fullname(), chosen[0]->get_name())};
    }
    item.parents = {chosen[0]->get_name()};
    kept.push_back(std::move(item));
  }
  return kept;
}

}  // namespace

std::shared_ptr<CLI::Config> MakeConfigReader(CLI::App& app) {
  return std::make_shared<ConfigReader>(app);
}

}  // namespace steelyard
