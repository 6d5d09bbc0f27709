// Arrays as NumPy stores them: `.npy`, read in any byte order and memory order, written in one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "steelyard/base/status.h"
#include "trace/npy_header.h"

namespace steelyard {

/// An array in C order with entries in the byte order of this machine.
struct NpyArray {
  NpyType type;
  std::vector<size_t> shape;
  std::vector<std::byte> data;

  /// Number of entries; 1 where there is no extent.
  size_t size() const;

  /// Every entry as a double; 64-bit integers above 2^53 are rounded.
  /// Fails with kInvalidArgument where the entries are text.
  Result<std::vector<double>> ToDoubles() const;

  /// Every entry as UTF-8, without the padding at its end.
  /// Fails with kInvalidArgument where the entries are numbers, or hold what is no character.
  Result<std::vector<std::string>> ToStrings() const;

  /// For example "f4 [24, 1024]".
  std::string ToString() const;
};

/// Reads the bytes of a whole `.npy` file. Fails with kInvalidArgument, naming place and rule, also
/// when the header promises other than what is there; the caller adds the file.
Result<NpyArray> ParseNpy(std::span<const std::byte> file);

/// The same, with the file named in every failure.
Result<NpyArray> ReadNpyFile(const std::filesystem::path& path);

/// The bytes of a `.npy` file. Requires: as many values as the shape says.
std::string FormatNpy(std::span<const size_t> shape, std::span<const uint32_t> values);
std::string FormatNpy(std::span<const size_t> shape, std::span<const double> values);

/// Temporary name, fsync, rename. Requires: as many values as the shape says.
Status WriteNpyFile(const std::filesystem::path& path, std::span<const size_t> shape,
                    std::span<const uint32_t> values);
Status WriteNpyFile(const std::filesystem::path& path, std::span<const size_t> shape,
                    std::span<const float> values);

}  // namespace steelyard
