// How many times a randomised test repeats: the count it states, times STEELYARD_TEST_SCALE (1 by
// default).
//
// Sanitizer runs set 0.1, `make check-long` sets 10. Only tests include this.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace steelyard {

inline int Scaled(int count) {
  const char* text = std::getenv("STEELYARD_TEST_SCALE");
  const double scale = text != nullptr ? std::atof(text) : 1.0;
  return std::max(1, static_cast<int>(count * scale));
}

}  // namespace steelyard
