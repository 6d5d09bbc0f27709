// Makes `.npz` files as NumPy would. Only tests include this.
#pragma once

#include <gtest/gtest.h>
#include <zip.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "trace/npy_header.h"

namespace steelyard {

inline std::string NpyBytes(const std::vector<size_t>& shape, const std::vector<uint32_t>& values) {
  return FormatNpyHeader({.kind = 'u', .item_bytes = 4}, shape) +
         std::string(reinterpret_cast<const char*>(values.data()), 4 * values.size());
}

/// Entries are (name, contents), compressed.
inline void WriteNpz(const std::filesystem::path& path,
                     const std::vector<std::pair<std::string, std::string>>& entries) {
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  ASSERT_NE(archive, nullptr);
  for (const auto& [name, contents] : entries) {
    zip_source_t* source = zip_source_buffer(archive, contents.data(), contents.size(), 0);
    ASSERT_NE(source, nullptr);
    ASSERT_GE(zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8), 0);
  }
  ASSERT_EQ(zip_close(archive), 0) << zip_strerror(archive);
}

}  // namespace steelyard
