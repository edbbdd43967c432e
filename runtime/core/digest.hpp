// SPDX-License-Identifier: BSD-3-Clause
// A fingerprint of distributed data that does not depend on who holds which part.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace conclave {

/// Sums, modulo 2^64, a hash of every named row's bytes. Rows may be added in any order and on any rank; the parts of
/// several ranks are added up (integers may be summed in any order).
class Digest {
 public:
  /// Row `index` of the array `name`. Adding a row twice counts twice.
  template <class T>
  void add(std::string_view name, Index index, std::span<const T> row) {
    add_bytes(name, index, row.data(), row.size_bytes());
  }
  void merge(Digest other) { value_ += other.value_; }
  [[nodiscard]] std::uint64_t value() const { return value_; }
  explicit Digest(std::uint64_t value = 0) : value_(value) {}

 private:
  void add_bytes(std::string_view name, Index index, const void* bytes, std::size_t size);
  std::uint64_t value_;
};

}  // namespace conclave
