// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/core/matrix.hpp"

#include <cstddef>
#include <optional>

namespace conclave {

/// Borrowed rows of equal length that may stand anywhere: those of a matrix, or one place a row. Of rows to be written,
/// one that has no place is not wanted.
template <class T>
class ScatteredRows {
 public:
  ScatteredRows() = default;         // no rows
  ScatteredRows(MatrixView<T> rows)  // NOLINT(google-explicit-constructor): a matrix is a case of it
      : matrix_(rows), num_rows_(rows.rows), cols_(rows.cols) {}
  /// places: [rows], each with room for cols values of T.
  ScatteredRows(std::span<std::byte* const> places, Index cols)
      : places_(places), num_rows_(std::ssize(places)), cols_(cols) {}

  [[nodiscard]] Index rows() const { return num_rows_; }
  [[nodiscard]] Index cols() const { return cols_; }
  [[nodiscard]] bool wants(Index i) const { return places_.empty() || cols_ == 0 || at(i) != nullptr; }
  [[nodiscard]] std::span<T> row(Index i) const {
    if (places_.empty()) return matrix_.row(i);
    return {at(i), static_cast<std::size_t>(cols_)};
  }
  /// The rows as a matrix if they follow one another in memory.
  [[nodiscard]] std::optional<MatrixView<T>> as_block(Range rows) const {
    if (places_.empty()) return matrix_.row_block(rows);
    for (Index i = rows.begin + 1; i < rows.end; ++i) {
      if (at(i) != at(i - 1) + cols_) return std::nullopt;
    }
    return MatrixView<T>{rows.empty() ? nullptr : at(rows.begin), rows.size(), cols_, cols_};
  }

 private:
  [[nodiscard]] T* at(Index i) const { return reinterpret_cast<T*>(places_[static_cast<std::size_t>(i)]); }

  MatrixView<T> matrix_{nullptr, 0, 0, 0};  // if places_ is empty
  std::span<std::byte* const> places_{};    // [rows]
  Index num_rows_ = 0;
  Index cols_ = 0;
};

}  // namespace conclave
