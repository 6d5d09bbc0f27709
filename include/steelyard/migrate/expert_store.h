// What a host gives the mover: the byte bundle of every buffer that can hold an expert.
//
// A bundle is *all* tensors of one expert (gate, up, down, scales), contiguous, in exactly the
// layout that the kernel reads. It begins with a BundleHeader that says which layout and whose
// weights these are, so that a wrong-layout or wrong-expert move is found before it is committed.
// The mover treats the rest as opaque bytes.
//
// Slots are indirect: a layer's table says which buffer a slot reads. Buffers of one shape form a
// pool shared by all layers whose experts have that shape, with a few spare. All are allocated and
// pre-faulted at start; a commit swaps table entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steelyard {

/// The first bytes of every bundle. Plain data; its size keeps what follows 64-byte aligned.
struct alignas(64) BundleHeader {
  uint64_t layout_id = 0;     // of the kernel and type that the tensors are packed for
  int32_t layer = -1;         // MoE layer, from 0
  int32_t expert = -1;        // logical expert
  uint8_t reserved[48] = {};  // always zero: it is hashed with the rest
};
static_assert(sizeof(BundleHeader) == 64);

/// Called from the thread that drives the step. Bundles never move while the store lives.
class ExpertStore {
 public:
  virtual ~ExpertStore() = default;

  virtual int num_layers() const = 0;
  virtual int num_pools() const = 0;
  /// The pool whose buffers hold experts of `layer`.
  virtual int pool_of_layer(int layer) const = 0;
  /// Buffers of this rank in `pool`: slots of all its layers, and the spare ones.
  virtual int num_buffers(int pool) const = 0;
  /// All bytes of one buffer, header included, 64-byte aligned; equally long on every rank and for
  /// every buffer of a pool.
  virtual std::span<std::byte> bundle(int pool, int buffer) = 0;
  /// The layout that this rank's kernel reads in `layer`.
  virtual uint64_t layout_id(int layer) const = 0;
};

}  // namespace steelyard
