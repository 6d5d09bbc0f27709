#include "command.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "number_text.h"

namespace steelyard {

CLI::Validator WholeNumber(int64_t low, int64_t high) {
  return {[low, high](std::string& text) {
            int64_t number = 0;
            return ParseNumber(text, &number) && number >= low && number <= high
                       ? std::string()
                       : fmt::format("{}: not a whole number from {} to {}", text, low, high);
          },
          ""};
}

CLI::Validator NotNegative() {
  return {[](std::string& text) {
            double number = 0.0;
            return ParseNumber(text, &number) && std::isfinite(number) && number >= 0.0
                       ? std::string()
                       : fmt::format("{}: not a finite number from 0 on", text);
          },
          ""};
}

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     CommandBody body) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->final_callback([body = std::move(body)] {
    const Status status = body();
    if (!status.ok()) {
      throw CLI::RuntimeError(status.message(), 1);
    }
  });
  return command;
}

bool HasCommand(const CLI::App& app, const std::string& name) {
  const std::vector<const CLI::App*> found =
      app.get_subcommands([&name](const CLI::App* command) { return command->get_name() == name; });
  return !found.empty();
}

void AddJsonOption(CLI::App* command, bool* json) {
  command->add_flag("--json", *json,
                    "Print one JSON object on standard output, and nothing else there");
}

}  // namespace steelyard
