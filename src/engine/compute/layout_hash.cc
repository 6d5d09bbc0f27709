#include "engine/compute/layout_hash.h"

namespace steelyard {
namespace {

// FNV-1a, over the bytes of each number from the lowest up, so that the id is the same everywhere.
constexpr uint64_t kOffset = 0xCBF29CE484222325U;
constexpr uint64_t kPrime = 0x100000001B3U;

uint64_t AddNumber(uint64_t hash, int64_t number) {
  for (int shift = 0; shift < 64; shift += 8) {
    hash = (hash ^ ((static_cast<uint64_t>(number) >> shift) & 0xFFU)) * kPrime;
  }
  return hash;
}

}  // namespace

uint64_t HashLayout(std::string_view family, ComputeType type, const WeightShape& shape,
                    std::span<const int64_t> details) {
  uint64_t hash = AddNumber(kOffset, static_cast<int64_t>(family.size()));
  for (const char c : family) {
    hash = AddNumber(hash, c);
  }
  hash = AddNumber(AddNumber(AddNumber(hash, static_cast<int>(type)), shape.num_out), shape.num_in);
  for (const int64_t detail : details) {
    hash = AddNumber(hash, detail);
  }
  return hash == 0 ? 1 : hash;
}

}  // namespace steelyard
