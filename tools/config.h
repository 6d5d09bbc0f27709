// --config FILE.toml: options of the subcommand that was chosen, under [SUBCOMMAND] or at the top
// of the file.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

namespace steelyard {

/// Reads for `app`, which must outlive it and got its subcommands from `add_commands`. The whole
/// file must be TOML (toml.h); sections of other subcommands are passed over. A section that is no
/// subcommand, a key that is no option or is there twice, and a value that the option refuses throw
/// UsageError with file and line, also where the command line gives the option.
std::shared_ptr<CLI::Config> MakeConfigReader(CLI::App& app,
                                              std::function<void(CLI::App&)> add_commands);

}  // namespace steelyard
