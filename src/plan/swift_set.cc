#include "plan/swift_set.h"

#include <utility>

#include "steelyard/base/check.h"

namespace steelyard {
namespace {

// All are CPython's.
constexpr size_t kSmallest = 8;
constexpr size_t kLinearProbes = 9;
constexpr int kPerturbShift = 5;

}  // namespace

void SwiftSet::Clear() {
  table_.assign(kSmallest, kFree);
  num_used_ = 0;
  num_filled_ = 0;
}

/// Entries where `value` may be, in order, until stop(entry): runs of neighbours where they fit
/// before the end of the table, each run at a place that more and more bits of the hash decide.
template <typename Stop>
size_t SwiftSet::FirstEntry(int32_t value, Stop stop) const {
  const size_t mask = table_.size() - 1;
  auto perturb = static_cast<size_t>(value);
  size_t first = perturb & mask;
  for (;;) {
    const size_t last = first + kLinearProbes <= mask ? first + kLinearProbes : first;
    for (size_t entry = first; entry <= last; ++entry) {
      if (stop(entry)) {
        return entry;
      }
    }
    perturb >>= kPerturbShift;
    first = (first * 5 + 1 + perturb) & mask;
  }
}

/// Takes the last marker of a removed value that is met before a free entry, else the free entry.
void SwiftSet::Add(int32_t value) {
  const size_t none = table_.size();
  size_t marker = none;
  const size_t found = FirstEntry(value, [&](size_t entry) {
    if (table_[entry] == kRemoved) {
      marker = entry;
    }
    return table_[entry] == value || table_[entry] == kFree;
  });
  if (table_[found] == value) {
    return;
  }
  ++num_used_;
  if (marker != none) {
    table_[marker] = value;
    return;
  }
  table_[found] = value;
  ++num_filled_;
  if (num_filled_ * 5 >= (table_.size() - 1) * 3) {
    Grow();
  }
}

void SwiftSet::Remove(int32_t value) {
  const size_t found = FirstEntry(
      value, [&](size_t entry) { return table_[entry] == value || table_[entry] == kFree; });
  STEELYARD_CHECK_EQ(table_[found], value);
  table_[found] = kRemoved;
  --num_used_;
}

void SwiftSet::Grow() {
  size_t size = kSmallest;
  while (size <= num_used_ * 4) {
    size *= 2;
  }
  std::swap(table_, outgrown_);
  table_.assign(size, kFree);
  for (const int32_t value : outgrown_) {
    if (value >= 0) {
      table_[FirstEntry(value, [&](size_t entry) { return table_[entry] == kFree; })] = value;
    }
  }
  num_filled_ = num_used_;
}

}  // namespace steelyard
