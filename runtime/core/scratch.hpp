// SPDX-License-Identifier: BSD-3-Clause
// Memory for what a call needs and nobody keeps, without a way to the allocator and back.
#pragma once

#include "runtime/core/matrix.hpp"

namespace conclave {

/// What is taken from a scope is there until the scope ends. Scopes of a thread nest as its calls do, and memory is
/// taken from the innermost one only. Each thread keeps the blocks that it takes from: a step that needs no more than
/// the steps before it allocates nothing.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// `count` values, unspecified; 64-byte aligned. InvariantError if an inner scope is open; so below.
  template <class T>
  [[nodiscard]] std::span<T> values(Index count) {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    invariant(count >= 0, "scratch for {} values", count);
    const auto size = static_cast<std::size_t>(count);
    return {static_cast<T*>(take(size * sizeof(T))), size};
  }
  /// `count` times `value`.
  template <class T>
  [[nodiscard]] std::span<T> values(Index count, T value) {
    const std::span<T> result = values<T>(count);
    std::ranges::fill(result, value);
    return result;
  }
  /// rows x cols, unspecified.
  template <class T>
  [[nodiscard]] MatrixView<T> matrix(Index rows, Index cols) {
    return as_matrix(values<T>(rows * cols), rows, cols);
  }
  /// rows x cols, all `value`.
  template <class T>
  [[nodiscard]] MatrixView<T> matrix(Index rows, Index cols, T value) {
    return as_matrix(values<T>(rows * cols, value), rows, cols);
  }

 private:
  void* take(std::size_t bytes);

  std::size_t block_;  // where the scope began: in this block of the thread's,
  std::size_t used_;   // after so many bytes of it
  Index depth_;        // scopes around this one, and itself
};

}  // namespace conclave
