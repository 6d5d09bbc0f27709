// A span that knows its shape: [rows, columns], row-major, not owning.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "steelyard/base/check.h"

namespace steelyard {

template <typename T>
class Span2 {
 public:
  Span2() = default;
  Span2(T* data, size_t num_rows, size_t num_cols)
      : data_(data), num_rows_(num_rows), num_cols_(num_cols) {}
  Span2(std::span<T> flat, size_t num_rows, size_t num_cols)
      : Span2(flat.data(), num_rows, num_cols) {
    STEELYARD_CHECK_EQ(flat.size(), num_rows * num_cols);
  }
  /// A Span2<T> converts to a Span2<const T>.
  template <typename U>
  // NOLINTNEXTLINE(google-explicit-constructor)
  requires std::is_convertible_v<U (*)[], T (*)[]> Span2(const Span2<U>& other)
      : Span2(other.data(), other.num_rows(), other.num_cols()) {}

  T* data() const { return data_; }
  size_t num_rows() const { return num_rows_; }
  size_t num_cols() const { return num_cols_; }
  size_t size() const { return num_rows_ * num_cols_; }
  std::span<T> flat() const { return {data_, size()}; }
  std::span<T> row(size_t i) const { return {data_ + i * num_cols_, num_cols_}; }
  T& operator()(size_t i, size_t j) const { return data_[i * num_cols_ + j]; }

 private:
  T* data_ = nullptr;
  size_t num_rows_ = 0;
  size_t num_cols_ = 0;
};

}  // namespace steelyard
