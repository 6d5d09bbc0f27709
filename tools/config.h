// --config FILE.toml: options of the subcommand that was chosen, under [SUBCOMMAND] or at the top
// of the file.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

namespace steelyard {

/// Reads for `app`, which must outlive it. Sections of other subcommands are passed over; a key
/// that is no option, and a section that is no subcommand, throw UsageError with the file.
std::shared_ptr<CLI::Config> MakeConfigReader(CLI::App& app);

}  // namespace steelyard
