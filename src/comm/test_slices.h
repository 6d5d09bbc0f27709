// A sender's slices and a receiver's buffers, for the tests of weight channels.
#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "steelyard/comm/communicator.h"

namespace steelyard {

inline SliceHeader MakeSlice(uint64_t cycle, int32_t expert, uint64_t offset_bytes,
                             uint64_t slice_bytes) {
  SliceHeader header;
  header.cycle = cycle;
  header.expert = expert;
  header.offset_bytes = offset_bytes;
  header.slice_bytes = slice_bytes;
  header.bundle_bytes = offset_bytes + slice_bytes;
  return header;
}

/// Takes in slices of one cycle; those of others have no place. Bytes go to a bundle per expert.
class CycleSink : public SliceSink {
 public:
  CycleSink(uint64_t cycle, size_t bundle_bytes) : cycle_(cycle), bundle_bytes_(bundle_bytes) {}

  std::span<std::byte> Destination(const SliceHeader& header) override {
    asked.push_back(header);
    if (header.cycle != cycle_) return {};
    std::vector<std::byte>& bundle = bundles[header.expert];
    bundle.resize(bundle_bytes_);
    return std::span(bundle).subspan(header.offset_bytes, header.slice_bytes);
  }
  void Landed(const SliceHeader& header) override { landed.push_back(header); }

  std::map<int32_t, std::vector<std::byte>> bundles;
  std::vector<SliceHeader> asked;
  std::vector<SliceHeader> landed;

 private:
  const uint64_t cycle_;
  const size_t bundle_bytes_;
};

}  // namespace steelyard
