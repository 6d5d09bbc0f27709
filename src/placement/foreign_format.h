// Text of one foreign format to a placement and back: one pair of functions per format, and what
// they share. Messages name the place in the text, not the file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "steelyard/placement/placement_formats.h"

namespace steelyard {

Result<ForeignPlacement> ParseVllmAscend(const Json& file, const ImportOptions& options);
Result<std::string> FormatVllmAscend(const ForeignPlacement& foreign);

Result<ForeignPlacement> ParseSglang(const Json& file, const ImportOptions& options);
Result<std::string> FormatSglang(const ForeignPlacement& foreign);

Result<ForeignPlacement> ParseTensorrtLlm(const std::string& text, const ImportOptions& options);
Result<std::string> FormatTensorrtLlm(const ForeignPlacement& foreign);

/// With the numbers of layers that the options give. Fails where these are not as many as layers.
Result<ForeignPlacement> WithLayers(Placement placement, const ImportOptions& options);

/// Rows of one width, [num_rows, num_slots].
struct SlotRows {
  int num_slots = 0;
  std::vector<int32_t> experts;

  int num_rows() const { return num_slots == 0 ? 0 : static_cast<int>(experts.size()) / num_slots; }
  std::span<const int32_t> row(int row_idx) const {
    return {experts.data() + static_cast<size_t>(row_idx) * num_slots,
            static_cast<size_t>(num_slots)};
  }
};

/// The number of experts, where nobody gave it: rows that are whole hold 0 .. n - 1; the largest n
/// of these, or else one more than the largest id.
int InferNumExperts(const SlotRows& rows);

/// Ranks x slots for rows of this width. Fails unless the options give ranks that divide it.
Result<Topology> TopologyOfRows(const ImportOptions& options, int num_slots);

}  // namespace steelyard
