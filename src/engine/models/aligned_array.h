// Memory for numbers that kernels stream through: 64-byte aligned, zeroed (and so touched) when it
// is made, of a size that never changes.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace steelyard {

/// `bytes` rounded up so that what follows is aligned as well.
constexpr size_t AlignedSize(size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Move only; the elements stay where they are when it is moved.
template <typename T>
class AlignedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedArray() = default;
  /// Throws std::bad_alloc when there is not enough memory.
  explicit AlignedArray(size_t size) : size_(size) {
    const size_t bytes = AlignedSize(size * sizeof(T));
    if (bytes == 0) return;
    void* memory = ::operator new (bytes, std::align_val_t{64});
    std::memset(memory, 0, bytes);
    data_.reset(static_cast<T*>(memory));
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  std::span<T> span() { return {data(), size_}; }
  std::span<const T> span() const { return {data(), size_}; }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* memory) const { ::operator delete (memory, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace steelyard
