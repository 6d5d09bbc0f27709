// What every subcommand shares: how it is declared, how it fails, and the options that several
// have.
//
// A subcommand is one file, tools/NAME_command.cc, which declares its options and says what it
// does. Exit codes: 0 success, 1 failure (bad data, a rank lost, tokens differ), 2 bad usage. A
// failure is one line on standard error.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <string>

#include "steelyard/base/status.h"
#include "steelyard/placement/placement.h"
#include "steelyard/plan/policy.h"

namespace steelyard {

/// Bad usage that only shows once options are seen together; `main` turns it into exit code 2.
struct UsageError {
  std::string message;
};

/// What a subcommand came to: ok, or a failure that `main` prints.
using CommandBody = std::function<Status()>;

/// Adds `name` to the command; `body` runs when it was chosen and all options were read.
CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     CommandBody body);

/// Refuses what is no whole number from `low` to `high`, in words that fit after "--option: ".
CLI::Validator WholeNumber(int64_t low, int64_t high);

/// --ranks, --slots, --nodes: the shape that experts are placed on.
struct TopologyOptions {
  int ranks = 0;  // 0: not given
  int slots = 0;  // 0: not given
  int nodes = 0;  // 0: not given

  void AddTo(CLI::App* command);
  bool any_given() const { return ranks != 0 || slots != 0 || nodes != 0; }
  /// The topology for `num_experts`; --slots defaults to min(experts, ceil(experts / ranks) + 1).
  /// `current`, where there is one, gives what was not asked for; its ranks and slots must agree
  /// with what was, while --nodes deals the same ranks to other nodes.
  /// Fails naming the option and the rule.
  Result<Topology> Resolve(int num_experts, const Placement* current) const;
};

/// --policy, --groups, --price, --split, --threads, --seed.
struct PolicyOptions {
  std::string policy = "steelyard";
  std::string split = "even";
  int threads = 1;
  PlanOptions plan;

  void AddTo(CLI::App* command);
  /// Fails naming the option that is out of range or not built yet; throws UsageError for a name
  /// that is none.
  Status Check() const;
};

/// `--json` of a subcommand.
void AddJsonOption(CLI::App* command, bool* json);

/// Whether `app` has a subcommand of this name.
bool HasCommand(const CLI::App& app, const std::string& name);

void AddRunCommand(CLI::App& app);
void AddPlanCommand(CLI::App& app);
void AddInspectCommand(CLI::App& app);
void AddDemoCommand(CLI::App& app);

}  // namespace steelyard
