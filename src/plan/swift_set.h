// The set whose order of iteration decides ties and slots in the `swift` policy, written out so
// that no library decides it.
//
// The reference keeps a rank's experts in a set of CPython (3.7 to 3.11), and its answer depends on
// the order in which that yields them: the order of a hash table, which follows from every value
// ever added and removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace steelyard {

/// A set of ints from 0; each is its own hash. Not for more than 50 000, from where on CPython
/// grows more slowly. Memory is kept over Clear().
class SwiftSet {
 public:
  SwiftSet() { Clear(); }

  void Clear();
  void Add(int32_t value);
  /// Requires: `value` is in the set.
  void Remove(int32_t value);

  /// Calls visit(value) for each in order of iteration.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const int32_t entry : table_) {
      if (entry >= 0) {
        visit(entry);
      }
    }
  }

 private:
  static constexpr int32_t kFree = -1;
  static constexpr int32_t kRemoved = -2;  // searches go on beyond it

  template <typename Stop>
  size_t FirstEntry(int32_t value, Stop stop) const;
  void Grow();

  std::vector<int32_t> table_;     // a power of two
  std::vector<int32_t> outgrown_;  // the table before
  size_t num_used_ = 0;            // entries that hold a value
  size_t num_filled_ = 0;          // and those that held one
};

}  // namespace steelyard
