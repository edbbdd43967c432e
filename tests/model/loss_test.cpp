// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/loss.hpp"

#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using test::random_values;
using Values = std::vector<double>;

constexpr Index rows = 6;
constexpr Index vocab = 11;
const std::vector<std::int32_t> targets{3, 0, 10, 3, 7, 1};

template <class T>
MatrixView<T> view_of(std::span<T> values) {
  return as_matrix(values, static_cast<Index>(values.size()) / vocab, vocab);
}

TEST(CrossEntropy, IsTheFormula) {
  const Values logits = random_values(rows * vocab, 1, 3.0);
  double nats = 0.0;
  for (Index i = 0; i < rows; ++i) {
    double sum = 0.0;
    for (Index j = 0; j < vocab; ++j) sum += std::exp(logits[i * vocab + j]);
    nats -= std::log(std::exp(logits[i * vocab + targets[i]]) / sum);
  }
  const double expected = cross_entropy(view_of(std::span(logits)), targets).nats;
  EXPECT_NEAR(expected, nats, 1e-12);
  EXPECT_GT(nats, 1.0);
  const std::vector<float> single(logits.begin(), logits.end());
  EXPECT_NEAR(cross_entropy(view_of(std::span(single)), targets).nats, nats, rows * vocab * 1e-6);
}

TEST(CrossEntropy, GradientIsOfScaledNats) {
  const double scale = 0.37;
  const Values logits = random_values(rows * vocab, 1, 2.0);
  Values gradient = logits;
  const LossSums sums = cross_entropy_and_gradient(view_of(std::span(gradient)), targets, scale);
  const LossSums alone = cross_entropy(view_of(std::span(logits)), targets);
  EXPECT_EQ(sums.nats, alone.nats);
  EXPECT_EQ(sums.correct, alone.correct);
  test::expect_gradient([&](auto at) { return scale * cross_entropy(view_of(at), targets).nats; }, logits, gradient);
}

TEST(CrossEntropy, HugeLogitsStayFinite) {
  for (const double shift : {1e4, -1e4}) {
    std::vector<float> logits(vocab, static_cast<float>(shift));
    logits[2] += 50.0F;
    const std::vector<std::int32_t> target{5};
    const LossSums sums = cross_entropy_and_gradient(view_of(std::span(logits)), target, 1.0);
    EXPECT_NEAR(sums.nats, 50.0, 1e-2);
    EXPECT_NEAR(logits[2], 1.0, 1e-6);
    EXPECT_NEAR(logits[5], -1.0, 1e-6);
  }
}

TEST(CrossEntropy, CountsTheFirstLargest) {
  Values logits(3 * vocab, 0.0);
  logits[0 * vocab + 4] = 1.0;                          // row 0: 4
  logits[1 * vocab + 2] = logits[1 * vocab + 6] = 2.0;  // row 1: 2, tied with 6
  logits[2 * vocab + 10] = 1.0;                         // row 2: 10
  const auto correct = [&](std::vector<std::int32_t> at) {
    return cross_entropy(view_of(std::span<const double>(logits)), at).correct;
  };
  EXPECT_EQ(correct({4, 2, 10}), 3);
  EXPECT_EQ(correct({4, 6, 10}), 2);
  EXPECT_EQ(correct({0, 6, 9}), 0);
}

TEST(CrossEntropy, RefusesForeignTargetsAndTakesNoRows) {
  Values logits = random_values(vocab, 1);
  for (const std::int32_t target : {-1, static_cast<std::int32_t>(vocab)}) {
    const std::vector<std::int32_t> foreign{target};
    EXPECT_THROW((void)cross_entropy(view_of(std::span<const double>(logits)), foreign), InvariantError);
    EXPECT_THROW((void)cross_entropy_and_gradient(view_of(std::span(logits)), foreign, 1.0), InvariantError);
  }
  EXPECT_THROW((void)cross_entropy(view_of(std::span<const double>(logits)), targets), InvariantError);
  const LossSums none = cross_entropy_and_gradient(MatrixView<double>{nullptr, 0, vocab, vocab}, {}, 1.0);
  EXPECT_EQ(none.nats, 0.0);
  EXPECT_EQ(none.correct, 0);
}

}  // namespace
}  // namespace conclave::model
