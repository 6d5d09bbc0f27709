// Bytes as a sequence of choices, so that what libFuzzer changes in an input changes one choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace steelyard {

class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  /// 0 where no byte is left, so that the plainest choice stands first.
  int Byte() { return at_ < bytes_.size() ? static_cast<uint8_t>(bytes_[at_++]) : 0; }

  /// In [0, bound). Requires: 1 <= bound <= 256.
  int Below(int bound) { return Byte() % bound; }

  /// In [low, high]. Requires: fewer than 256 of them.
  int Between(int low, int high) { return low + Below(high - low + 1); }

  /// True for one byte in `n`, never where none is left.
  bool OneIn(int n) { return Below(n) == n - 1; }

  template <typename T, size_t kNum>
  T Of(const T (&values)[kNum]) {
    return values[Below(kNum)];
  }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

}  // namespace steelyard
