// SPDX-License-Identifier: BSD-3-Clause
// Row-major matrices: Matrix owns, MatrixView borrows and goes by value.
#pragma once

#include "runtime/core/error.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/core/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace conclave {

/// A borrowed row-major matrix: element (i, j) is data[i * ld + j]. MatrixView<const T> is read-only.
template <class T>
struct MatrixView {
  T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index ld = 0;  // elements from one row to the next, >= cols

  [[nodiscard]] T& operator()(Index i, Index j) const {
    debug_check(0 <= i && i < rows && 0 <= j && j < cols, "element ({}, {}) of a {} x {} matrix", i, j, rows, cols);
    return data[i * ld + j];
  }
  [[nodiscard]] std::span<T> row(Index i) const { return {data + i * ld, static_cast<std::size_t>(cols)}; }
  /// Rows [begin, begin + count), all columns.
  [[nodiscard]] MatrixView row_block(Index begin, Index count) const {
    debug_check(0 <= begin && 0 <= count && begin + count <= rows, "rows {}+{} of {}", begin, count, rows);
    return {data + begin * ld, count, cols, ld};
  }
  [[nodiscard]] MatrixView row_block(Range range) const { return row_block(range.begin, range.size()); }
  /// Columns [begin, begin + count), all rows.
  [[nodiscard]] MatrixView col_block(Index begin, Index count) const {
    debug_check(0 <= begin && 0 <= count && begin + count <= cols, "columns {}+{} of {}", begin, count, cols);
    return {data + begin, rows, count, ld};
  }
  [[nodiscard]] bool contiguous() const { return ld == cols || rows <= 1; }
  /// All elements in row order; the view must be contiguous.
  [[nodiscard]] std::span<T> flat() const {
    invariant(contiguous(), "a flat span of a strided {} x {} view (ld {})", rows, cols, ld);
    return {data, static_cast<std::size_t>(rows * cols)};
  }
  operator MatrixView<const T>() const  // NOLINT(google-explicit-constructor): as span<T> to span<const T>
      requires(!std::is_const_v<T>) {
    return {data, rows, cols, ld};
  }
};

template <class T>
using ConstMatrixView = MatrixView<const T>;

/// A borrowed contiguous matrix over `values`.
template <class T>
[[nodiscard]] MatrixView<T> as_matrix(std::span<T> values, Index rows, Index cols) {
  invariant(static_cast<Index>(values.size()) == rows * cols, "{} values seen as {} x {}", values.size(), rows, cols);
  return {values.data(), rows, cols, cols};
}

/// An owned row-major contiguous matrix, 64-byte aligned. Move-only: a copy is asked for by name.
template <class T>
class Matrix {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Matrix() = default;
  /// rows x cols, all zero.
  Matrix(Index rows, Index cols) {
    resize(rows, cols);
    fill(T{});
  }
  Matrix(Matrix&& other) noexcept { swap(other); }
  Matrix& operator=(Matrix&& other) noexcept {
    swap(other);
    return *this;
  }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;
  ~Matrix() { release(); }

  /// Gives the matrix a new shape. The memory is kept where it is large enough, so a workspace that is resized every
  /// step allocates once. The contents are unspecified afterwards.
  void resize(Index rows, Index cols) {
    invariant(rows >= 0 && cols >= 0, "a matrix of {} x {}", rows, cols);
    if (rows * cols > capacity_) {
      release();
      data_ = static_cast<T*>(allocate_array(bytes_of(rows * cols)));
      capacity_ = rows * cols;
    }
    rows_ = rows;
    cols_ = cols;
  }
  void fill(T value) { std::fill_n(data_, size(), value); }
  [[nodiscard]] Matrix copy() const {
    Matrix result;
    result.resize(rows_, cols_);
    std::copy_n(data_, size(), result.data_);
    return result;
  }

  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index cols() const { return cols_; }
  [[nodiscard]] Index size() const { return rows_ * cols_; }
  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  [[nodiscard]] T& operator()(Index i, Index j) { return view()(i, j); }
  [[nodiscard]] const T& operator()(Index i, Index j) const { return view()(i, j); }
  [[nodiscard]] std::span<T> row(Index i) { return view().row(i); }
  [[nodiscard]] std::span<const T> row(Index i) const { return view().row(i); }
  [[nodiscard]] std::span<T> flat() { return {data_, static_cast<std::size_t>(size())}; }
  [[nodiscard]] std::span<const T> flat() const { return {data_, static_cast<std::size_t>(size())}; }
  [[nodiscard]] MatrixView<T> view() { return {data_, rows_, cols_, cols_}; }
  [[nodiscard]] MatrixView<const T> view() const { return {data_, rows_, cols_, cols_}; }
  operator MatrixView<T>() { return view(); }              // NOLINT(google-explicit-constructor)
  operator MatrixView<const T>() const { return view(); }  // NOLINT(google-explicit-constructor)

 private:
  static std::size_t bytes_of(Index elements) { return static_cast<std::size_t>(elements) * sizeof(T); }

  void release() noexcept {
    free_array(data_, bytes_of(capacity_));
    data_ = nullptr;
    rows_ = 0;
    cols_ = 0;
    capacity_ = 0;
  }
  void swap(Matrix& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    std::swap(capacity_, other.capacity_);
  }

  T* data_ = nullptr;
  Index rows_ = 0;
  Index cols_ = 0;
  Index capacity_ = 0;
};

}  // namespace conclave
