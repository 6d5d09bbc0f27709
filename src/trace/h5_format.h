// Names of what a trace file holds, as docs/formats.md lists them.
#pragma once

#include <cstdint>
#include <string_view>

namespace steelyard {

inline constexpr const char* kH5Counts = "counts";  // uint32 [bins, phases, layers, experts]
inline constexpr const char* kH5Steps = "steps";    // uint64 [bins]

inline constexpr const char* kH5Format = "format";
inline constexpr std::string_view kH5FormatName = "steelyard.trace";
inline constexpr const char* kH5Version = "version";
inline constexpr int64_t kH5FormatVersion = 1;
inline constexpr const char* kH5PhaseNames = "phase_names";  // text [phases]
inline constexpr const char* kH5Model = "model";             // text
inline constexpr const char* kH5Topology = "topology";  // int64 [3]: ranks, slots per rank, nodes
inline constexpr const char* kH5TopK = "top_k";         // int64

}  // namespace steelyard
