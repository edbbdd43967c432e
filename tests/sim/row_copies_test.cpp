// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/row_copies.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace conclave::sim {
namespace {

std::vector<std::vector<NodeChoice>> nodes_of(const std::vector<std::vector<double>>& chances) {
  std::vector<std::vector<NodeChoice>> nodes;
  for (const std::vector<double>& node : chances) {
    nodes.emplace_back();
    for (const double chance : node) nodes.back().push_back({chance, 1.0});
  }
  return nodes;
}

// Of 12 experts a token chooses 2: a node of 3 is missed with (9 * 8) / (12 * 11).
TEST(RowCopies, OfEqualExpertsAreThoseOfDrawingWithoutPuttingBack) {
  const auto four = nodes_of(std::vector(4, std::vector(3, 2.0 / 12.0)));
  EXPECT_NEAR(distinct_share(four, 2, 1.0), (1.0 - 72.0 / 132.0) / 0.5, 1e-12);
  const auto two = nodes_of(std::vector(2, std::vector(5, 4.0 / 10.0)));
  EXPECT_NEAR(distinct_share(two, 4, 1.0), (1.0 - 5.0 / 210.0) / 2.0, 1e-12);
}

TEST(RowCopies, ThereAreNoneOfOneChoiceAndOfOneExpertANode) {
  EXPECT_NEAR(distinct_share(nodes_of({{0.5, 0.1}, {0.2, 0.2}}), 1, 0.7), 1.0, 1e-3);
  EXPECT_NEAR(distinct_share(nodes_of(std::vector(6, std::vector(1, 0.5))), 3, 0.9), 1.0, 1e-12);
  EXPECT_EQ(distinct_share(nodes_of({{0.0}, {0.0}}), 2, 1.0), 1.0);
  EXPECT_EQ(distinct_share(nodes_of({{0.5}, {0.5}}), 1, 0.0), 1.0) << "nothing is kept";
}

// An expert that every token chooses is a row of its own on its node.
TEST(RowCopies, AHotExpertIsNoCopy) {
  EXPECT_NEAR(distinct_share(nodes_of({{1.0}, {0.25, 0.25, 0.25, 0.25}}), 2, 1.0), 1.0, 1e-3);
  EXPECT_NEAR(distinct_share(nodes_of({{1.0, 0.25, 0.25, 0.25, 0.25}}), 2, 1.0), 0.5, 1e-3);
}

// Every set of experts by its weight, every outcome of keeping, one by one.
TEST(RowCopies, AreThoseOfAllSetsAndDropsCountedOneByOne) {
  const std::vector<double> chances{0.7, 0.3, 0.4, 0.2, 0.3, 0.1};
  const std::vector<std::uint32_t> nodes{0b000011, 0b011100, 0b100000};
  constexpr double kept = 0.8;
  double weight_of_all = 0.0;
  double distinct = 0.0;
  double rows = 0.0;
  for (const double chance : chances) rows += kept * chance;
  for (std::uint32_t chosen = 0; chosen < 64; ++chosen) {
    if (std::popcount(chosen) != 2) continue;
    double weight = 1.0;
    for (std::size_t e = 0; e < chances.size(); ++e) {
      if ((chosen >> e & 1U) != 0) weight *= chances[e] / (1.0 - chances[e]);
    }
    weight_of_all += weight;
    for (const std::uint32_t node : nodes) {
      distinct += weight * (1.0 - std::pow(1.0 - kept, std::popcount(chosen & node)));
    }
  }
  const auto choices = nodes_of({{0.7, 0.3}, {0.4, 0.2, 0.3}, {0.1}});
  EXPECT_NEAR(distinct_share(choices, 2, kept), distinct / weight_of_all / rows, 1e-12);
}

}  // namespace
}  // namespace conclave::sim
