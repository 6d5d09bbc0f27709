#include "base/count_allocations.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constinit std::atomic<int64_t> num_allocations{0};
constinit thread_local int64_t num_allocations_of_thread = 0;

constexpr auto kPlain = std::align_val_t{__STDCPP_DEFAULT_NEW_ALIGNMENT__};

/// Null where there is no memory.
void* Allocate(size_t num_bytes, std::align_val_t alignment) noexcept {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  ++num_allocations_of_thread;
  const size_t at_least_one = std::max<size_t>(num_bytes, 1);
  if (alignment == kPlain) return std::malloc(at_least_one);
  // The size must be a multiple of the alignment, which is a power of two.
  const auto multiple = static_cast<size_t>(alignment);
  return std::aligned_alloc(multiple, (at_least_one + multiple - 1) & ~(multiple - 1));
}

void* AllocateOrThrow(size_t num_bytes, std::align_val_t alignment) {
  void* memory = Allocate(num_bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

namespace steelyard {

int64_t NumAllocations() { return num_allocations.load(std::memory_order_relaxed); }
int64_t NumAllocationsOfThread() { return num_allocations_of_thread; }

}  // namespace steelyard

// Every form is replaced: those of the library need not end in one another, and sanitizers have
// their own.
using std::align_val_t;
using std::nothrow_t;

void* operator new(size_t n) { return AllocateOrThrow(n, kPlain); }
void* operator new[](size_t n) { return AllocateOrThrow(n, kPlain); }
void* operator new(size_t n, align_val_t a) { return AllocateOrThrow(n, a); }
void* operator new[](size_t n, align_val_t a) { return AllocateOrThrow(n, a); }
void* operator new(size_t n, const nothrow_t&) noexcept { return Allocate(n, kPlain); }
void* operator new[](size_t n, const nothrow_t&) noexcept { return Allocate(n, kPlain); }
void* operator new(size_t n, align_val_t a, const nothrow_t&) noexcept { return Allocate(n, a); }
void* operator new[](size_t n, align_val_t a, const nothrow_t&) noexcept { return Allocate(n, a); }

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, align_val_t, const nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, align_val_t, const nothrow_t&) noexcept { std::free(memory); }
