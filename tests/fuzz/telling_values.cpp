// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/telling_values.hpp"

#include <array>
#include <limits>

namespace conclave::fuzz {

Index some_integer(Draws& draws) {
  constexpr std::array<Index, 10> telling{0,
                                          -1,
                                          1,
                                          2,
                                          7,
                                          Index{1} << 20,
                                          Index{1} << 31,
                                          Index{1} << 62,
                                          std::numeric_limits<Index>::max(),
                                          std::numeric_limits<Index>::min()};
  return draws.of<Index>(telling);
}

double some_real(Draws& draws) {
  using Limits = std::numeric_limits<double>;
  constexpr std::array<double, 10> telling{
      0.0, -0.0, -1.0, 1e-300, 1e300, Limits::max(), 1e40, 0.5, Limits::infinity(), Limits::quiet_NaN()};
  return draws.of<double>(telling);
}

std::string some_text(Draws& draws) {
  constexpr std::array<const char*, 18> telling{"",     "0",   "-1",       "1",        "2",    "9223372036854775807",
                                                "nan",  "inf", "1e300",    "yes",      "no",   "hash",
                                                "0.25", "3,4", "\xff\xfe", "16777216", "topk", "4611686018427387904"};
  return draws.one_in(8) ? std::string(static_cast<std::size_t>(draws.below(100000)), 'x')
                         : std::string(draws.of<const char*>(telling));
}

}  // namespace conclave::fuzz
