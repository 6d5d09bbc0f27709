// bfloat16: the upper half of a float32.
#pragma once

#include <bit>
#include <cstdint>

namespace steelyard {

/// The float32 that is nearest to `value` among those whose lower half is zero, ties to even; a NaN
/// stays a NaN. Finite values beyond the largest bf16 become infinite.
inline float RoundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) & 0xFFFF0000U;
  const uint32_t quiet_nan = (bits | 0x00400000U) & 0xFFFF0000U;
  return std::bit_cast<float>((bits & 0x7FFFFFFFU) > 0x7F800000U ? quiet_nan : rounded);
}

/// The same, as the 16 bits that are stored.
inline uint16_t Bf16Bits(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(RoundToBf16(value)) >> 16);
}

}  // namespace steelyard
