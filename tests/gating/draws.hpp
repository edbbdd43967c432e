// SPDX-License-Identifier: BSD-3-Clause
// Draws for tests, numbered: row n of draws is the same everywhere.
#pragma once

#include "runtime/core/options.hpp"
#include "runtime/core/random.hpp"

#include <initializer_list>
#include <vector>

namespace conclave::test {

/// A row of draws.
class Draws {
 public:
  explicit Draws(Index number) : random_(number, RandomStream::initial, 400) {}
  [[nodiscard]] double uniform() { return random_.uniform(next_++, 0); }
  [[nodiscard]] double normal() { return random_.normal(next_++, 0); }
  /// 0, 1, ..., count - 1.
  [[nodiscard]] Index below(Index count) { return static_cast<Index>(uniform() * static_cast<double>(count)); }
  [[nodiscard]] bool yes() { return below(2) == 1; }
  template <class T>
  [[nodiscard]] T pick(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<Index>(values.size()))];
  }
  /// Any value of an enumeration.
  template <class E>
  [[nodiscard]] E any() {
    constexpr auto names = enum_names(E{});
    return names[static_cast<std::size_t>(below(static_cast<Index>(names.size())))].value;
  }
  [[nodiscard]] std::vector<double> normals(Index count, double deviation) {
    std::vector<double> values;
    for (Index i = 0; i < count; ++i) values.push_back(deviation * normal());
    return values;
  }

 private:
  Random random_;
  Index next_ = 0;
};

}  // namespace conclave::test
