// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/bf16.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace conclave {
namespace {

std::uint16_t rounded(float value) {
  std::uint16_t result = 0;
  to_bf16<float>({&value, 1}, {&result, 1});
  return result;
}
float value_of(std::uint16_t bits) {
  float result = 0.0F;
  from_bf16<float>({&bits, 1}, {&result, 1});
  return result;
}

TEST(Bf16, EveryBfloat16ComesBackAsItWas) {
  for (std::uint32_t bits = 0; bits <= 0xffffU; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (std::isnan(value_of(half))) {
      EXPECT_TRUE(std::isnan(value_of(rounded(value_of(half)))));
    } else {
      EXPECT_EQ(rounded(value_of(half)), half);
    }
  }
}

TEST(Bf16, TheNearestIsTakenAndOfTwoTheEvenOne) {
  for (std::uint32_t bits = 0x3f00U; bits < 0x4100U; ++bits) {  // 0.5 to 8
    const float below = value_of(static_cast<std::uint16_t>(bits));
    const float above = value_of(static_cast<std::uint16_t>(bits + 1));
    const float middle = 0.5F * (below + above);
    EXPECT_EQ(rounded(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(rounded(std::nextafter(middle, 0.0F)), bits);
    EXPECT_EQ(rounded(std::nextafter(middle, 100.0F)), bits + 1);
    EXPECT_EQ(rounded(-middle), (bits % 2 == 0 ? bits : bits + 1) | 0x8000U);
  }
}

TEST(Bf16, WhatIsNoNumberStaysNone) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(value_of(rounded(infinity)), infinity);
  EXPECT_EQ(value_of(rounded(-infinity)), -infinity);
  EXPECT_EQ(value_of(rounded(std::numeric_limits<float>::max())), infinity) << "it is nearer than any bfloat16";
  EXPECT_TRUE(std::isnan(value_of(rounded(std::bit_cast<float>(0x7f800001U))))) << "a NaN in the lower half alone";
}

TEST(Bf16, ManyAtOnceAreAsEachAlone) {
  std::vector<double> values;
  for (int i = 0; i < 75; ++i) values.push_back(std::sin(0.37 * i + 0.1) * std::pow(10.0, i % 9 - 4));
  std::vector<std::uint16_t> all(values.size());
  to_bf16<double>(values, all);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(all[i], rounded(static_cast<float>(values[i])));
    EXPECT_NEAR(value_of(all[i]) / values[i], 1.0, 1.0 / 256.0);
  }
}

}  // namespace
}  // namespace conclave
