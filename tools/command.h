// What every subcommand shares: how it is declared, how it fails, and the options that several
// have.
//
// A subcommand is one file, tools/NAME_command.cc, which declares its options and says what it
// does. Exit codes: 0 success, 1 failure (bad data, a rank lost, tokens differ), 2 bad usage. A
// failure is one line on standard error.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "policy_options.h"
#include "steelyard/base/status.h"
#include "topology_options.h"

namespace steelyard {

/// Bad usage that only shows once options are seen together; `main` turns it into exit code 2.
struct UsageError {
  std::string message;
};

/// What a subcommand came to: ok, or a failure that `main` prints. `config` is the file of
/// --config, which no output may overwrite; empty where none was given.
using CommandBody = std::function<Status(const std::string& config)>;

/// Adds `name` to the command; `body` runs when it was chosen and all options were read.
CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     CommandBody body);

/// Ends the help of `command` with command lines, each a whole one.
void AddExamples(CLI::App* command, const std::vector<std::string>& examples);

/// Refuses what is no whole number from `low` to `high`, in words that fit after "--option: ".
CLI::Validator WholeNumber(int64_t low, int64_t high);

/// Refuses what is no finite number from 0 on, or from `low` to `high`, in the same words.
CLI::Validator NotNegative();
CLI::Validator NumberWithin(double low, double high);

/// Of amounts that are more than nothing: 1e-9 to 1e15, so that no quotient of two leaves the range
/// of a double.
CLI::Validator Positive();

/// Refuses what is empty, which is not the same as an option that is not given.
CLI::Validator NotEmpty();

/// An option that names a file or a folder; an empty name is refused.
CLI::Option* AddPathOption(CLI::App* command, const std::string& name, std::string& path,
                           const std::string& description);

/// An option without a value.
void AddFlag(CLI::App* command, const std::string& name, bool& flag,
             const std::string& description);

/// `--json` of a subcommand.
void AddJsonOption(CLI::App* command, bool* json);

/// Whether `app` has a subcommand of this name.
bool HasCommand(const CLI::App& app, const std::string& name);

void AddRunCommand(CLI::App& app);
void AddRecordCommand(CLI::App& app);
void AddPlanCommand(CLI::App& app);
void AddReplayCommand(CLI::App& app);
void AddConvertCommand(CLI::App& app);
void AddInspectCommand(CLI::App& app);
void AddDemoCommand(CLI::App& app);

}  // namespace steelyard
