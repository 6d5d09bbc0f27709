// SIGINT and SIGTERM ask a run to stop; everything is then put away and the command ends with one
// line.
#pragma once

#include "steelyard/base/executor.h"

namespace steelyard {

/// Installs the handlers. The flag is set when either signal comes.
const CancelFlag& CatchInterrupts();

}  // namespace steelyard
