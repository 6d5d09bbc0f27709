// The head of a `.npy` file: a magic, a version, and a Python dictionary that says type, order and
// shape of the bytes that follow.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "steelyard/base/status.h"

namespace steelyard {

/// What one entry of an array is.
struct NpyType {
  char kind = 'f';  // 'i' signed, 'u' unsigned, 'f' floating point, 'U' text of fixed width
  size_t item_bytes = 4;

  /// As NumPy writes it, for example "f4" or "U16".
  std::string ToString() const;
  friend bool operator==(const NpyType&, const NpyType&) = default;
};

struct NpyHeader {
  NpyType type;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<size_t> shape;
  size_t size_bytes = 0;  // of the header itself: the data begin here
};

/// Reads versions 1, 2 and 3. Types are integers of 1 to 8 bytes, floats of 2, 4 and 8, and text.
/// Fails with kInvalidArgument, naming the key and the rule; the caller adds the file.
Result<NpyHeader> ParseNpyHeader(std::span<const std::byte> file);

/// The header of a little-endian array in C order, version 1, padded to a multiple of 64 bytes.
/// Requires: at most 32 extents.
std::string FormatNpyHeader(const NpyType& type, std::span<const size_t> shape);

}  // namespace steelyard
