// SPDX-License-Identifier: BSD-3-Clause
// Which experts serve which tokens, of tables whose information is known by hand.
#include "runtime/train/routing_census.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::train {
namespace {

TEST(Information, IsAllWhereRowsAndColumnsAreOne) {
  const Information bits = information({50, 0, 0, 0, 0, 50, 0, 0, 0, 0, 50, 0, 0, 0, 0, 50}, 4, 4);
  EXPECT_NEAR(bits.plug_in, 2.0, 1e-12);
  EXPECT_NEAR(bits.corrected, 2.0 + 3.0 / (400.0 * std::log(2.0)), 1e-12) << "4 rows, 4 columns, 4 cells of 200";
  EXPECT_NEAR(bits.most, bits.corrected, 1e-12) << "each of the three entropies is as much too small";
  EXPECT_NEAR(bits.share(), 1.0, 1e-12);
}

TEST(Information, IsNoneOfIndependentCounts) {
  const Information bits = information({10, 20, 30, 20, 40, 60}, 2, 3);
  EXPECT_NEAR(bits.plug_in, 0.0, 1e-12);
  EXPECT_NEAR(bits.corrected, -2.0 / (360.0 * std::log(2.0)), 1e-12) << "2 rows, 3 columns, 6 cells of 180";
  EXPECT_NEAR(bits.most, -(std::log2(1.0 / 3.0) + 2.0 * std::log2(2.0 / 3.0)) / 3.0 + 1.0 / (360.0 * std::log(2.0)),
              1e-12);
  EXPECT_EQ(bits.share(), 0.0);
}

// Of draws that have nothing to do with one another, few to many: the counts alone seem to tell much.
TEST(Information, OfFewIndependentDrawsIsAboutNone) {
  constexpr Index experts = 8;
  constexpr Index domains = 4;
  for (const Index draws : {64, 256, 4096}) {
    double plug_in = 0.0;
    double corrected = 0.0;
    constexpr Index tables = 200;
    for (Index table = 0; table < tables; ++table) {
      const Random random(5, RandomStream::initial, draws, table);
      std::vector<Index> counts(static_cast<std::size_t>(experts * domains), 0);
      for (Index draw = 0; draw < draws; ++draw) {
        const auto expert = static_cast<Index>(random.uniform(0, draw) * experts);
        const auto domain = static_cast<Index>(random.uniform(1, draw) * domains);
        ++counts[static_cast<std::size_t>(expert * domains + domain)];
      }
      const Information bits = information(counts, experts, domains);
      plug_in += bits.plug_in / tables;
      corrected += bits.corrected / tables;
    }
    // (rows - 1) (columns - 1) / (2 N) nats, and what is left of it over so many tables.
    const double bias = 21.0 / (2.0 * static_cast<double>(draws) * std::log(2.0));
    EXPECT_NEAR(plug_in, bias, 0.25 * bias) << draws;
    // Cells that stay empty are not corrected for: with two draws a cell half of the bias is left.
    EXPECT_LT(std::abs(corrected), (draws < 256 ? 0.5 : 0.2) * bias) << draws;
  }
}

TEST(Information, IsThatOfANoisyChannel) {
  const auto entropy = [](double p) { return -p * std::log2(p) - (1.0 - p) * std::log2(1.0 - p); };
  const Information bits = information({90, 10, 10, 90}, 2, 2);
  EXPECT_NEAR(bits.plug_in, 1.0 - entropy(0.1), 1e-12);
  EXPECT_NEAR(bits.corrected, bits.plug_in - 1.0 / (400.0 * std::log(2.0)), 1e-12);
}

TEST(Information, OfEmptyCellsAndTablesIsThatOfTheOthers) {
  EXPECT_NEAR(information({7, 0, 0, 0, 0, 7}, 2, 3).plug_in, 1.0, 1e-12);
  const Information nothing = information({0, 0, 0, 0}, 2, 2);
  EXPECT_EQ(nothing.plug_in, 0.0);
  EXPECT_EQ(nothing.corrected, 0.0);
  EXPECT_EQ(nothing.most, 0.0);
  EXPECT_EQ(nothing.share(), 0.0);
}

TEST(Favourites, AreWhatAnExpertServesBeyondItsShare) {
  // 2 experts of 100 claims each, 3 things of 80, 100 and 20 claims.
  const auto of_experts = favourites({60, 25, 15, 20, 75, 5}, 2, 9);
  ASSERT_EQ(of_experts.size(), 2U);
  ASSERT_EQ(of_experts[0].size(), 2U);
  EXPECT_EQ(of_experts[0][0].what, 0) << "20 beyond the expected 40, though another has the same lift";
  EXPECT_EQ(of_experts[0][0].count, 60);
  EXPECT_NEAR(of_experts[0][0].lift, 1.5, 1e-12);
  EXPECT_EQ(of_experts[0][1].what, 2);
  EXPECT_NEAR(of_experts[0][1].lift, 1.5, 1e-12);
  ASSERT_EQ(of_experts[1].size(), 1U);
  EXPECT_EQ(of_experts[1][0].what, 1);
  EXPECT_EQ(favourites({60, 25, 15, 20, 75, 5}, 2, 1)[0].size(), 1U);
  EXPECT_TRUE(favourites({1, 1, 0, 0}, 2, 9)[1].empty()) << "serves nothing";
}

TEST(Lifts, AreSharesOverShares) {
  const std::vector<double> found = lifts({60, 25, 15, 20, 75, 5}, 2);
  const std::vector<double> expected{1.5, 0.5, 1.5, 0.5, 1.5, 0.5};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-12) << i;
  EXPECT_TRUE(std::isnan(lifts({1, 0, 1, 0}, 2)[1])) << "nobody serves it";
}

TEST(CharacterClasses, AreCountedFromBytes) {
  std::vector<Index> tokens(2 * 300, 0);
  const auto put = [&](Index expert, Index token, Index count) {
    tokens[static_cast<std::size_t>(expert * 300 + token)] = count;
  };
  put(0, 'a', 1);
  put(0, 'z', 2);
  put(0, 'A', 4);
  put(1, '7', 8);
  put(1, '\n', 16);
  put(1, ';', 32);
  put(1, 200, 64);
  put(1, 299, 128);
  EXPECT_EQ(counts_of_classes(tokens, 2), (std::vector<Index>{3, 4, 0, 0, 0, 0, 0, 0, 8, 16, 32, 192}));
  EXPECT_EQ(claims_of_experts(tokens, 2), (std::vector<Index>{7, 248}));
}

}  // namespace
}  // namespace conclave::train
