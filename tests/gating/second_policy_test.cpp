// SPDX-License-Identifier: BSD-3-Clause
// The second expert at random: how often, and by which draw.
#include "gating/second_policy.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace conclave::gating {
namespace {

/// Six standard deviations of a share of n independent draws, each true with probability p.
double bound(double p, Index n) { return 6.0 * std::sqrt(p * (1.0 - p) / static_cast<double>(n)); }

TEST(RefuseWeakSecondsTest, AsksWithTwiceTheShareOfItsGate) {
  constexpr Index num_tokens = 20000;
  for (const auto& [first, second] : {std::pair{0.6, 0.2}, {0.08, 0.02}, {3.0, 2.0}}) {
    Matrix<double> score(num_tokens, 2);
    for (Index t = 0; t < num_tokens; ++t) score(t, 0) = first, score(t, 1) = second;
    Matrix<char> refused(num_tokens, 2);
    refused.fill(9);
    refuse_weak_seconds<double>(score.view(), Random(5, RandomStream::second, 2, 7), TokenId{100}, refused.view());
    Index num_refused = 0;
    for (Index t = 0; t < num_tokens; ++t) {
      EXPECT_EQ(refused(t, 0), 0) << "a first choice is never refused";
      num_refused += refused(t, 1);
    }
    const double expected = 1.0 - 2.0 * second / (first + second);
    EXPECT_NEAR(static_cast<double>(num_refused) / num_tokens, expected, bound(expected, num_tokens));
  }
}

TEST(RefuseWeakSecondsTest, BordersAndTheTokensOwnDraw) {
  const Random random(5, RandomStream::second);
  Matrix<double> score(4, 2);
  score(0, 0) = 1.0, score(0, 1) = 1.0;  // as strong as the first: always
  score(1, 0) = 1.0, score(1, 1) = 0.0;  // nothing: never
  score(2, 0) = 0.0, score(2, 1) = 0.0;  // no gate at all: the share is 0
  const double u = random.uniform(43, 0);
  const double share = u / 2.0 * (1.0 + 1e-9);  // just above token 43's draw
  score(3, 0) = 1.0 - share, score(3, 1) = share;
  Matrix<char> refused(4, 2);
  refuse_weak_seconds<double>(score.view(), random, TokenId{40}, refused.view());
  EXPECT_EQ(refused(0, 1), 0);
  EXPECT_EQ(refused(1, 1), 1);
  EXPECT_EQ(refused(2, 1), 1);
  EXPECT_EQ(refused(3, 1), 0);
  score(3, 1) = u / 2.0 * (1.0 - 1e-9), score(3, 0) = 1.0 - score(3, 1);
  refuse_weak_seconds<double>(score.view(), random, TokenId{40}, refused.view());
  EXPECT_EQ(refused(3, 1), 1);
}

TEST(SampleSecondTest, DrawsFromTheSoftmaxWithoutTheFirst) {
  constexpr Index num_tokens = 20000;
  constexpr std::array<double, 4> logits{0.3, 2.0, -0.5, 1.1};
  for (std::int32_t first = 0; first < 4; ++first) {
    Matrix<double> z(num_tokens, 4);
    Matrix<std::int32_t> choices(num_tokens, 2);
    for (Index t = 0; t < num_tokens; ++t) {
      std::ranges::copy(logits, z.row(t).begin());
      choices(t, 0) = first;
      choices(t, 1) = 77;
    }
    sample_second<double>(z.view(), Random(8, RandomStream::gumbel, 1, 3), TokenId{50}, choices.view());
    std::array<Index, 4> drawn{};
    for (Index t = 0; t < num_tokens; ++t) {
      ASSERT_EQ(choices(t, 0), first);
      ++drawn.at(static_cast<std::size_t>(choices(t, 1)));
    }
    double total = 0.0;
    for (std::int32_t e = 0; e < 4; ++e) total += e == first ? 0.0 : std::exp(logits[static_cast<std::size_t>(e)]);
    for (std::int32_t e = 0; e < 4; ++e) {
      const auto at = static_cast<std::size_t>(e);
      const double share = e == first ? 0.0 : std::exp(logits[at]) / total;
      EXPECT_NEAR(static_cast<double>(drawn[at]) / num_tokens, share, bound(share, num_tokens)) << e;
    }
  }
}

TEST(SampleSecondTest, IsTheTokensOwnDrawAndNeverTheFirst) {
  Matrix<double> z(3, 2);
  z(0, 0) = z(1, 1) = 1e4;  // the first choice is far ahead, and still is not taken twice
  Matrix<std::int32_t> choices(3, 2);
  choices(0, 0) = 0, choices(1, 0) = 1, choices(2, 0) = 0;
  const Random random(8, RandomStream::gumbel);
  sample_second<double>(z.view(), random, TokenId{0}, choices.view());
  EXPECT_EQ(choices(0, 1), 1);
  EXPECT_EQ(choices(1, 1), 0);
  EXPECT_EQ(choices(2, 1), 1);

  // The same tokens, begun at another place of the step.
  Matrix<double> even(20, 6);
  Matrix<std::int32_t> all(20, 2);
  Matrix<std::int32_t> rest(13, 2);
  sample_second<double>(even.view(), random, TokenId{30}, all.view());
  sample_second<double>(even.view().row_block(0, 13), random, TokenId{37}, rest.view());
  Index num_different = 0;
  for (Index t = 0; t < 13; ++t) {
    EXPECT_EQ(rest(t, 1), all(t + 7, 1));
    num_different += rest(t, 1) != all(t, 1) ? 1 : 0;
  }
  EXPECT_GT(num_different, 5);
}

}  // namespace
}  // namespace conclave::gating
