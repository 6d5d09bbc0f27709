#include "base/printable.h"

#include <algorithm>

namespace steelyard {

std::string Printable(std::string_view text) {
  constexpr size_t kMaxBytes = 240;
  constexpr size_t kHalf = kMaxBytes / 2;
  std::string line(text);
  if (line.size() > kMaxBytes) {
    line = line.substr(0, kHalf) + " ... " + line.substr(line.size() - kHalf);
  }
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

}  // namespace steelyard
