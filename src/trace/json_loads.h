// Loads in JSON: nested arrays, alone or as SGLang's recorder wraps them.
#pragma once

#include <vector>

#include "base/json.h"
#include "steelyard/base/status.h"

namespace steelyard {

/// Numbers in C order, of any extents.
struct CountArray {
  std::vector<size_t> shape;
  std::vector<double> values;
};

/// Reads an array of up to three extents, or the one under "logical_count" of an object (its other
/// keys are passed over). Fails with kInvalidArgument, naming the place and the rule.
Result<CountArray> CountsOfJson(const Json& json);

}  // namespace steelyard
