// The placement file of docs/formats.md: JSON, versioned, written so that no reader ever sees half
// of one.
#pragma once

#include <filesystem>
#include <string>

#include "steelyard/base/status.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

/// Every failure names the file, the place in it ("slot_to_expert[3][17]") and the rule.
Result<Placement> ReadPlacementFile(const std::filesystem::path& path, DuplicateRule duplicates);

/// Temporary name, fsync, rename.
Status WritePlacementFile(const std::filesystem::path& path, const Placement& placement);

}  // namespace steelyard
