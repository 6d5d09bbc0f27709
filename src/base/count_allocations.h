// Counts of operator new, for tests and benchmarks that hold code to what it may allocate.
//
// A program counts by linking steelyard_count_allocations, which replaces operator new and delete
// in all their forms. malloc() by itself is not counted. Only tests and benchmarks include this.
#pragma once

#include <cstdint>

namespace steelyard {

/// Allocations so far, by all threads of the program.
int64_t NumAllocations();

/// Allocations so far, by the calling thread.
int64_t NumAllocationsOfThread();

}  // namespace steelyard
