// What a replay came to, as one HTML page that needs nothing else: tables and plots.
#pragma once

#include <string>

#include "observe/replay_report.h"

namespace steelyard {

/// The whole page.
std::string ReplayPage(const ReplayReport& report);

}  // namespace steelyard
