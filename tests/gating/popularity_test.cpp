// SPDX-License-Identifier: BSD-3-Clause
#include "gating/popularity.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::gating {
namespace {

std::string refusal(const std::string& text, Index experts) {
  try {
    static_cast<void>(expert_popularity(parse_skew(text), experts));
  } catch (const InputError& error) {
    return fmt::format("{}; {}", error.what(), error.hint());
  }
  return "none";
}

std::vector<double> popularity(const std::string& text, Index experts) {
  return expert_popularity(parse_skew(text), experts);
}

TEST(Popularity, SharesAddUpToOne) {
  for (const char* skew : {"uniform", "zipf:0", "zipf:1.0", "zipf:2.5", "gini:0", "gini:0.3", "gini:0.8"}) {
    for (const Index experts : {7, 64, 1000}) {
      const std::vector<double> shares = popularity(skew, experts);
      ASSERT_EQ(std::ssize(shares), experts);
      EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1.0, 1e-9) << skew;
      EXPECT_GT(*std::ranges::min_element(shares), 0.0) << skew;
    }
  }
}

TEST(Popularity, IsWhatItsNameSays) {
  std::vector<double> zipf = popularity("zipf:1", 4);
  std::ranges::sort(zipf, std::greater{});
  const double sum = 1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0;
  for (std::size_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(zipf[i], 1.0 / static_cast<double>(i + 1) / sum);
  for (const double gini : {0.1, 0.4, 0.7}) {
    EXPECT_NEAR(gini_coefficient(popularity(fmt::format("gini:{}", gini), 64)), gini, 1e-9);
  }
  EXPECT_EQ(popularity("uniform", 5), std::vector<double>(5, 0.2));
  EXPECT_EQ(popularity("gini:0", 5), std::vector<double>(5, 0.2));
}

TEST(Popularity, GiniOfKnownShares) {
  EXPECT_NEAR(gini_coefficient({0.25, 0.25, 0.25, 0.25}), 0.0, 1e-15);
  EXPECT_NEAR(gini_coefficient({0.0, 1.0, 0.0, 0.0}), 0.75, 1e-15);
  EXPECT_NEAR(gini_coefficient({0.4, 0.1, 0.2, 0.3}), 0.25, 1e-15);
}

TEST(Popularity, NoRanksShareHasAllThePopularOnes) {
  const std::vector<double> shares = popularity("zipf:1", 64);
  std::vector<std::size_t> order(64);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return shares[a] > shares[b]; });
  std::vector<int> of_rank(8, 0);
  for (std::size_t i = 0; i < 8; ++i) ++of_rank[order[i] / 8];
  EXPECT_LE(*std::ranges::max_element(of_rank), 3) << "of the 8 most popular, on 8 ranks of 8";
}

TEST(Popularity, RefusesWhatIsNone) {
  EXPECT_EQ(refusal("zipff:1", 8),
            "skew = 'zipff:1'; give uniform, zipf:EXPONENT or gini:COEFFICIENT, such as zipf:1.0");
  EXPECT_EQ(
      refusal("unform", 8),
      "skew = 'unform'; did you mean uniform?; give uniform, zipf:EXPONENT or gini:COEFFICIENT, such as zipf:1.0");
  for (const char* bad : {"zipf", "zipf:", "zipf:a", "uniform:1", "gini:0.9", "gini:-0.1", "zipf:-1", "zipf:nan", ""}) {
    EXPECT_NE(refusal(bad, 8), "none") << bad;
  }
  EXPECT_EQ(refusal("gini:0.85", 8), "none");
}

}  // namespace
}  // namespace conclave::gating
