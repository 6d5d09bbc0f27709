// Which loads a planner takes to be coming.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace steelyard {

/// kLast: the last window. kRecency: bins, each older one weighing less. kEma: windows, each older
/// one weighing less. kPooled: a few windows alike. kPhases: a profile per phase, weighed by its
/// traffic in the last window. kAuto: per layer the one whose plans would have been best on the
/// windows already seen. docs/planning.md says more.
enum class Predictor : uint8_t { kAuto, kLast, kRecency, kEma, kPooled, kPhases };

inline constexpr std::array kPredictors = {Predictor::kAuto,    Predictor::kLast,
                                           Predictor::kRecency, Predictor::kEma,
                                           Predictor::kPooled,  Predictor::kPhases};

/// For example "recency".
std::string_view PredictorName(Predictor predictor);

}  // namespace steelyard
