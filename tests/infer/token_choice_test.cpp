// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/infer/token_choice.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace conclave::infer {
namespace {

// Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1.
std::vector<float> logits() {
  std::vector<float> result;
  for (const double p : {0.1, 0.4, 0.2, 0.3}) result.push_back(static_cast<float>(std::log(p)));
  return result;
}

// How often each token is drawn, of 1000 draws at even distances.
std::map<std::int32_t, Index> draws(const ChoiceOptions& options) {
  std::map<std::int32_t, Index> counts;
  for (Index i = 0; i < 1000; ++i) ++counts[choose_token(logits(), options, (static_cast<double>(i) + 0.5) / 1000.0)];
  return counts;
}

using Counts = std::map<std::int32_t, Index>;

TEST(TokenChoice, DrawsByProbability) {
  EXPECT_EQ(draws({.temperature = 1.0}), (Counts{{0, 100}, {1, 400}, {2, 200}, {3, 300}}));
}

TEST(TokenChoice, TakesTheLikeliestWithoutTemperature) {
  EXPECT_EQ(draws({.temperature = 0.0}), (Counts{{1, 1000}}));
  EXPECT_EQ(choose_token(std::vector<float>{1.0F, 3.0F, 3.0F}, {.temperature = 0.0}, 0.9), 1);
}

TEST(TokenChoice, SharpensByTemperature) {
  // p^2 over 0.3
  const Counts counts = draws({.temperature = 0.5});
  EXPECT_NEAR(static_cast<double>(counts.at(1)), 1000 * 0.16 / 0.3, 1.0);
  EXPECT_NEAR(static_cast<double>(counts.at(0)), 1000 * 0.01 / 0.3, 1.0);
}

TEST(TokenChoice, KeepsTheLikeliestFew) {
  EXPECT_EQ(draws({.temperature = 1.0, .top_k = 1}), (Counts{{1, 1000}}));
  const Counts two = draws({.temperature = 1.0, .top_k = 2});
  EXPECT_EQ(two.size(), 2U);
  EXPECT_NEAR(static_cast<double>(two.at(1)), 1000 * 4.0 / 7.0, 1.0);
  EXPECT_EQ(draws({.temperature = 1.0, .top_k = 9}), draws({.temperature = 1.0}));
}

TEST(TokenChoice, KeepsAsFewAsHaveTheProbability) {
  EXPECT_EQ(draws({.temperature = 1.0, .top_p = 0.39}), (Counts{{1, 1000}}));
  EXPECT_EQ(draws({.temperature = 1.0, .top_p = 0.41}).size(), 2U);
  EXPECT_EQ(draws({.temperature = 1.0, .top_p = 0.75}).size(), 3U);
  EXPECT_EQ(draws({.temperature = 1.0, .top_k = 2, .top_p = 0.6}).size(), 2U);  // 4/7 of what is left is too little
  EXPECT_EQ(draws({.temperature = 1.0, .top_k = 2, .top_p = 0.5}).size(), 1U);
}

TEST(TokenChoice, TakesTheLowerOfEqualTokens) {
  const std::vector<float> equal{0.0F, 0.0F, 0.0F};
  EXPECT_EQ(choose_token(equal, {.temperature = 1.0, .top_k = 1}, 0.99), 0);
  EXPECT_EQ(choose_token(equal, {.temperature = 1.0, .top_k = 2}, 0.99), 1);
}

TEST(TokenChoice, RefusesWhatIsOutOfRange) {
  EXPECT_NO_THROW(validate({.temperature = 0.0, .top_k = 0, .top_p = 1.0}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const ChoiceOptions& wrong : std::vector<ChoiceOptions>{{.temperature = -1.0},
                                                               {.temperature = nan},
                                                               {.temperature = HUGE_VAL},
                                                               {.top_k = -1},
                                                               {.top_p = 0.0},
                                                               {.top_p = 1.5},
                                                               {.top_p = nan}}) {
    EXPECT_THROW(validate(wrong), InputError);
  }
}

}  // namespace
}  // namespace conclave::infer
