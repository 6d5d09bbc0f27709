// An ExpertStore of invented weights whose bytes say which expert they are, for the tests of this
// layer and of those above it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "steelyard/migrate/expert_store.h"
#include "steelyard/migrate/layer_tables.h"
#include "steelyard/placement/placement.h"

namespace steelyard {

class TestStore : public ExpertStore {
 public:
  static constexpr uint64_t kLayoutId = 0x5eed;

  /// `bundle_bytes` is a multiple of 64 and at least 128. Buffers hold what `initial` puts on
  /// `rank`, then `num_spare` empty ones.
  TestStore(const Placement& initial, int rank, size_t bundle_bytes, int num_spare)
      : num_layers_(initial.num_layers()),
        bundle_bytes_(bundle_bytes),
        num_buffers_(initial.num_layers() * initial.topology().slots_per_rank() + num_spare),
        memory_((num_buffers_ * bundle_bytes + 63) / 64) {
    const Topology& topology = initial.topology();
    for (int layer = 0; layer < num_layers_; ++layer) {
      for (int slot = 0; slot < topology.slots_per_rank(); ++slot) {
        const int32_t expert =
            initial.slot_to_expert(layer)[topology.first_slot_of_rank(rank) + slot];
        Fill(layer, expert, bundle(0, layer * topology.slots_per_rank() + slot));
      }
    }
  }

  int num_layers() const override { return num_layers_; }
  int num_pools() const override { return 1; }
  int pool_of_layer(int) const override { return 0; }
  int num_buffers(int) const override { return num_buffers_; }
  std::span<std::byte> bundle(int, int buffer) override {
    return {reinterpret_cast<std::byte*>(memory_.data()) + bundle_bytes_ * buffer, bundle_bytes_};
  }
  uint64_t layout_id(int) const override { return kLayoutId; }

  /// The bytes that the expert's bundle must have wherever it is.
  static void Fill(int layer, int32_t expert, std::span<std::byte> bundle) {
    BundleHeader header;
    header.layout_id = kLayoutId;
    header.layer = layer;
    header.expert = expert;
    uint64_t word = 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(layer) * 4096 + expert + 1);
    for (size_t i = 0; i + 8 <= bundle.size(); i += 8) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      std::memcpy(bundle.data() + i, &word, 8);
    }
    std::memcpy(bundle.data(), &header, sizeof(header));
  }

  /// Empty when every slot of `rank` in `layer` reads exactly the bytes of its expert (I3, I5);
  /// else what is wrong.
  std::string CheckLayer(const LayerTables& tables, const Topology& topology, int rank, int layer) {
    std::vector<std::byte> want(bundle_bytes_);
    for (int slot = 0; slot < topology.slots_per_rank(); ++slot) {
      const int32_t expert = tables.slot_to_expert[topology.first_slot_of_rank(rank) + slot];
      Fill(layer, expert, want);
      const std::span<const std::byte> have = bundle(0, tables.slot_to_buffer[slot]);
      if (std::memcmp(have.data(), want.data(), bundle_bytes_) != 0) {
        return "rank " + std::to_string(rank) + " layer " + std::to_string(layer) + " slot " +
               std::to_string(slot) + " does not hold the bytes of expert " +
               std::to_string(expert);
      }
    }
    return "";
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };

  int num_layers_;
  size_t bundle_bytes_;
  int num_buffers_;
  std::vector<Line> memory_;
};

}  // namespace steelyard
