// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>

namespace conclave {
namespace {

using Words = std::array<std::uint32_t, 4>;

Random keyed(std::uint32_t key0, std::uint32_t key1, std::uint32_t layer, std::uint32_t step) {
  return {Index{key0}, static_cast<RandomStream>(key1), Index{layer}, Index{step}};
}

// The known answers that Random123 publishes for Philox4x32-10.
TEST(Random, GivesPhiloxKnownAnswers) {
  EXPECT_EQ(keyed(0, 0, 0, 0).words(0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(keyed(ones, ones, ones, ones).words(ones, ones), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(keyed(0xa4093822, 0x299f31d0, 0x13198a2e, 0x03707344).words(0x243f6a88, 0x85a308d3),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, CountsWithTheLow32Bits) {
  const Random random(5, RandomStream::noise, 2, 3);
  const Index high = Index{1} << 32;
  EXPECT_EQ(random.words(7 + high, 8 - high), random.words(7, 8));
  EXPECT_EQ(Random(5 + high, RandomStream::noise, 2 + high, 3 + high).words(7, 8), random.words(7, 8));
}

TEST(Random, UniformAndNormalFollowTheirDefinition) {
  const Random random(11, RandomStream::jitter, 1, 4);
  for (Index i = 0; i < 50; ++i) {
    const Words w = random.words(i, 3);
    EXPECT_EQ(random.bits(i, 3), w[0]);
    const double u0 = (w[0] + 0.5) / 4294967296.0;
    const double u1 = (w[1] + 0.5) / 4294967296.0;
    EXPECT_EQ(random.uniform(i, 3), u0);
    const double normal = std::sqrt(-2.0 * std::log(u0)) * std::cos(2.0 * std::numbers::pi * u1);
    EXPECT_NEAR(random.normal(i, 3), normal, 1e-14);
  }
}

TEST(Random, EveryPartOfTheCounterAndKeyMatters) {
  const std::set<Words> all{
      Random(1, RandomStream::jitter, 2, 3).words(4, 5), Random(9, RandomStream::jitter, 2, 3).words(4, 5),
      Random(1, RandomStream::noise, 2, 3).words(4, 5),  Random(1, RandomStream::jitter, 9, 3).words(4, 5),
      Random(1, RandomStream::jitter, 2, 9).words(4, 5), Random(1, RandomStream::jitter, 2, 3).words(9, 5),
      Random(1, RandomStream::jitter, 2, 3).words(4, 9),
  };
  EXPECT_EQ(all.size(), 7U);
}

TEST(Random, MomentsAreThoseOfTheDistribution) {
  const Random random(123, RandomStream::initial);
  constexpr Index count = 20'000;
  double uniform_sum = 0.0;
  double normal_sum = 0.0;
  double normal_squares = 0.0;
  for (Index i = 0; i < count; ++i) {
    const double u = random.uniform(i, 0);
    const double n = random.normal(i, 1);
    ASSERT_GT(u, 0.0);
    ASSERT_LT(u, 1.0);
    uniform_sum += u;
    normal_sum += n;
    normal_squares += n * n;
  }
  // Five standard errors.
  const double root = std::sqrt(static_cast<double>(count));
  EXPECT_NEAR(uniform_sum / count, 0.5, 5.0 * std::sqrt(1.0 / 12.0) / root);
  EXPECT_NEAR(normal_sum / count, 0.0, 5.0 / root);
  EXPECT_NEAR(normal_squares / count, 1.0, 5.0 * std::sqrt(2.0) / root);
}

}  // namespace
}  // namespace conclave
