#include "steelyard/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace steelyard::internal {

void CheckFailed(const char* file, int line, const char* expression, const std::string& operands) {
  std::fprintf(stderr, "%s:%d: check failed: %s", file, line, expression);
  if (!operands.empty()) {
    std::fprintf(stderr, " (%s)", operands.c_str());
  }
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace steelyard::internal
