// The `steelyard` command. Each subcommand is a file of its own; this one reads arguments and turns
// failures into exit codes.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "command.h"
#include "config.h"

namespace {

constexpr int kFailure = 1;
constexpr int kBadUsage = 2;

// One line, whatever a library put into its message.
int Fail(std::string message, int exit_code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  fmt::print(stderr, "steelyard: {}\n", message);
  return exit_code;
}

void AddCommands(CLI::App& app) {
  steelyard::AddRunCommand(app);
  steelyard::AddRecordCommand(app);
  steelyard::AddPlanCommand(app);
  steelyard::AddReplayCommand(app);
  steelyard::AddConvertCommand(app);
  steelyard::AddInspectCommand(app);
  steelyard::AddDemoCommand(app);
}

int Run(int argc, char** argv) {
  CLI::App app(
      "Steelyard levels Mixture-of-Experts models: it plans where experts sit and moves them while "
      "the model serves.",
      "steelyard");
  const char* serve =
      "steelyard run --model models/qwen3_moe_tiny --requests models/demo_requests.jsonl "
      "--ranks 4 --out answers.jsonl";
  steelyard::AddExamples(&app, {"steelyard plan --loads loads.npy --ranks 8 --out plan.json",
                                "steelyard inspect placement.json --loads loads.npy",
                                "steelyard convert expert_map.json static.yaml --first-layer 3",
                                serve, "steelyard plan --help"});
  app.require_subcommand(1);
  app.set_config("--config", "",
                 "Read options from a TOML file: at its top, or under [SUBCOMMAND]; those given on "
                 "the command line win")
      ->check(CLI::ExistingFile);
  app.config_formatter(steelyard::MakeConfigReader(app, AddCommands));
  app.allow_config_extras(CLI::config_extras_mode::error);
  AddCommands(app);
  const bool names_command = argc > 1 && argv[1][0] != '-';
  const std::string more = fmt::format(
      "(steelyard {}--help tells more)",
      names_command && steelyard::HasCommand(app, argv[1]) ? argv[1] + std::string(" ") : "");
  if (names_command && !steelyard::HasCommand(app, argv[1])) {
    return Fail(fmt::format("{}: no such subcommand {}", argv[1], more), kBadUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& failure) {
    return Fail(failure.what(), failure.get_exit_code());
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> rest = app.remaining();
    if (app.get_subcommands().empty() && !rest.empty() && rest[0][0] != '-') {
      return Fail(fmt::format("{}: no such subcommand {}", rest[0], more), kBadUsage);
    }
    return Fail(fmt::format("{} {}", error.what(), more), kBadUsage);
  } catch (const steelyard::UsageError& error) {
    return Fail(error.message, kBadUsage);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    return Fail("standard output: cannot write what was asked for", kFailure);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::bad_alloc&) {
    return Fail("there is not enough memory for what was asked", kFailure);
  } catch (const std::exception& error) {
    return Fail(fmt::format("a library failed unexpectedly: {}", error.what()), kFailure);
  }
}
