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

CLI::Validator NumberWithin(double low, double high) {
  return {[low, high](std::string& text) {
            double number = 0.0;
            return ParseNumber(text, &number) && number >= low && number <= high
                       ? std::string()
                       : fmt::format("{}: not a number from {:g} to {:g}", text, low, high);
          },
          ""};
}

CLI::Validator Positive() { return NumberWithin(1e-9, 1e15); }

CLI::Validator NotEmpty() {
  return {[](std::string& text) { return text.empty() ? std::string("it is empty") : ""; }, ""};
}

CLI::Option* AddPathOption(CLI::App* command, const std::string& name, std::string& path,
                           const std::string& description) {
  return command->add_option(name, path, description)->check(NotEmpty());
}

void AddExamples(CLI::App* command, const std::vector<std::string>& examples) {
  command->footer(fmt::format("Examples:\n  {}\n", fmt::join(examples, "\n  ")));
}

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     CommandBody body) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->final_callback([&app, body = std::move(body)] {
    const CLI::Option* config = app["--config"];
    const Status status = body(config->empty() ? "" : config->as<std::string>());
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

void AddFlag(CLI::App* command, const std::string& name, bool& flag,
             const std::string& description) {
  command->add_flag(name, flag, description)
      ->check(CLI::Validator(
          [](std::string& text) {
            return text == "true" || text == "false"
                       ? std::string()
                       : fmt::format("{}: neither true nor false", text);
          },
          ""));
}

void AddJsonOption(CLI::App* command, bool* json) {
  AddFlag(command, "--json", *json,
          "Print one JSON object on standard output, and nothing else there");
}

}  // namespace steelyard
