// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/head_loss.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <ostream>

namespace conclave::model {
namespace {

using test::random_values;
using test::same_bits;

struct Case {
  Index rows, vocab;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.rows << " rows, " << c.vocab << " words"; }

constexpr Index width = 3;
constexpr double scale = 0.37;

template <class T>
struct Setting {
  explicit Setting(const Case& c)
      : x(random_values<T>(c.rows * width, 1)), weight(random_values<T>(c.vocab * width, 2, 1.5)) {
    for (Index i = 0; i < c.rows; ++i) targets.push_back(static_cast<std::int32_t>((i * 7919 + c.vocab - 1) % c.vocab));
  }
  [[nodiscard]] HeadRows<T> rows() const {
    return {as_matrix(std::span<const T>(x), static_cast<Index>(targets.size()), width),
            as_matrix(std::span<const T>(weight), static_cast<Index>(weight.size()) / width, width), targets};
  }
  std::vector<T> x, weight;
  std::vector<std::int32_t> targets;
};

struct Expected {
  double nats = 0.0;
  Index correct = 0;
  std::vector<double> log_sums, dx, d_weight;
};

// Whole rows of logits, in plain loops.
template <class T>
Expected oracle(const Case& c, const Setting<T>& s) {
  Expected e{0.0, 0, {}, std::vector<double>(s.x.size()), std::vector<double>(s.weight.size())};
  for (Index i = 0; i < c.rows; ++i) {
    std::vector<double> z(static_cast<std::size_t>(c.vocab));
    for (Index v = 0; v < c.vocab; ++v) {
      for (Index k = 0; k < width; ++k) z[v] += static_cast<double>(s.x[i * width + k]) * s.weight[v * width + k];
    }
    double sum = 0.0;
    for (const double logit : z) sum += std::exp(logit);
    const Index target = s.targets[i];
    e.log_sums.push_back(std::log(sum));
    if (target == no_target) continue;
    e.nats += std::log(sum) - z[target];
    e.correct += std::max_element(z.begin(), z.end()) - z.begin() == target ? 1 : 0;
    for (Index v = 0; v < c.vocab; ++v) {
      const double dz = scale * (std::exp(z[v]) / sum - (v == target ? 1.0 : 0.0));
      for (Index k = 0; k < width; ++k) {
        e.dx[i * width + k] += dz * s.weight[v * width + k];
        e.d_weight[v * width + k] += dz * s.x[i * width + k];
      }
    }
  }
  return e;
}

template <class T>
struct Result {
  LossSums loss;
  std::vector<T> log_sums, dx, d_weight;
};

// d_weight begins at 1: gradients are added to it.
template <class T>
Result<T> both(const Case& c, const Setting<T>& s) {
  Result<T> r{{},
              std::vector<T>(s.targets.size()),
              std::vector<T>(s.x.size(), std::numeric_limits<T>::quiet_NaN()),
              std::vector<T>(s.weight.size(), T{1})};
  r.loss = head_loss_and_gradients<T>(
      s.rows(), scale, std::span(r.log_sums),
      {as_matrix(std::span(r.dx), c.rows, width), as_matrix(std::span(r.d_weight), c.vocab, width)});
  return r;
}

template <class T>
void expect_near(const std::vector<T>& values, const std::vector<double>& truth, double offset, const char* what) {
  double largest = 0.0;
  for (const double value : truth) largest = std::max(largest, std::abs(value));
  EXPECT_GT(largest, 1e-3) << what;
  const double tolerance = 200.0 * std::numeric_limits<T>::epsilon() * std::max(largest, offset);
  ASSERT_EQ(values.size(), truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(values[i]), offset + truth[i], tolerance) << what << " " << i;
  }
}

class HeadLoss : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

// One row; one block; several blocks of rows; vocabularies of several blocks, with and without a remainder.
INSTANTIATE_TEST_SUITE_P(Shapes, HeadLoss,
                         testing::Values(Case{1, 11}, Case{6, 2}, Case{70, 65}, Case{300, 17}, Case{65, 8192},
                                         Case{1, 8193}, Case{70, 8704}, Case{260, 8710}));

TEST_P(HeadLoss, IsTheFormula) {
  const Case& c = GetParam();
  const auto expect = [&]<class T>(const Setting<T>& s) {
    const Expected e = oracle(c, s);
    const Result<T> r = both(c, s);
    EXPECT_GT(e.nats, 0.1);
    EXPECT_NEAR(r.loss.nats, e.nats, 100.0 * std::numeric_limits<T>::epsilon() * e.nats + 1e-14);
    EXPECT_EQ(r.loss.correct, e.correct);
    expect_near(r.log_sums, e.log_sums, 0.0, "log_sums");
    expect_near(r.dx, e.dx, 0.0, "dx");
    expect_near(r.d_weight, e.d_weight, 1.0, "d_weight");
  };
  expect(Setting<double>(c));
  expect(Setting<float>(c));
}

TEST_P(HeadLoss, LeavesRowsWithoutTargetOut) {
  const Case& c = GetParam();
  if (c.rows < 2) GTEST_SKIP() << "no other row";
  Setting<double> s(c);
  for (std::size_t i = 0; i < s.targets.size(); i += 3) s.targets[i] = no_target;
  const Expected e = oracle(c, s);
  EXPECT_LT(e.nats, oracle(c, Setting<double>(c)).nats - 0.1);
  const Result<double> r = both(c, s);
  EXPECT_NEAR(r.loss.nats, e.nats, 1e-13 * e.nats + 1e-14);
  EXPECT_EQ(r.loss.correct, e.correct);
  expect_near(r.dx, e.dx, 0.0, "dx");
  expect_near(r.d_weight, e.d_weight, 1.0, "d_weight");
  std::vector<double> log_sums(s.targets.size());
  EXPECT_EQ(head_loss<double>(s.rows(), std::span(log_sums)).nats, r.loss.nats);
  std::vector<double> dx(s.x.size());
  head_gradients<double>(s.rows(), scale, log_sums, {as_matrix(std::span(dx), c.rows, width), {}});
  expect_near(r.dx, dx, 0.0, "dx");
}

TEST_P(HeadLoss, IsTheSameInOnePassAndInTwo) {
  const Case& c = GetParam();
  const Setting<double> s(c);
  const Result<double> r = both(c, s);
  std::vector<double> log_sums(s.targets.size());
  const LossSums loss = head_loss<double>(s.rows(), std::span(log_sums));
  EXPECT_EQ(loss.nats, r.loss.nats);
  EXPECT_EQ(loss.correct, r.loss.correct);
  EXPECT_TRUE(same_bits<double>(log_sums, r.log_sums));
  std::vector<double> dx(s.x.size());
  std::vector<double> d_weight(s.weight.size(), 1.0);
  head_gradients<double>(s.rows(), scale, log_sums, {as_matrix(std::span(dx), c.rows, width), {}});
  head_gradients<double>(s.rows(), scale, log_sums, {{}, as_matrix(std::span(d_weight), c.vocab, width)});
  expect_near(r.dx, dx, 0.0, "dx");
  for (double& value : d_weight) value -= 1.0;
  expect_near(r.d_weight, d_weight, 1.0, "d_weight");
}

// Whole numbers, so that logits are exact: word v's logit is v % 5, and word `best`'s is 9 where the row asks for it.
TEST_P(HeadLoss, CountsTheFirstLargest) {
  const Case& c = GetParam();
  if (c.vocab < 10) GTEST_SKIP() << "no room for a tie";
  const auto correct = [&](std::vector<Index> best, Index target) {
    Setting<float> s({1, c.vocab});
    s.x = {1.0F, 0.0F, 0.0F};
    for (Index v = 0; v < c.vocab; ++v) s.weight[static_cast<std::size_t>(v * width)] = static_cast<float>(v % 5);
    for (const Index v : best) s.weight[static_cast<std::size_t>(v * width)] = 9.0F;
    s.targets = {static_cast<std::int32_t>(target)};
    std::vector<float> log_sums(1);
    return head_loss<float>(s.rows(), std::span(log_sums)).correct;
  };
  const Index last = c.vocab - 1;
  for (const Index v : {Index{0}, c.vocab / 2, last}) EXPECT_EQ(correct({v}, v), 1) << v;
  EXPECT_EQ(correct({2}, 4), 0);
  EXPECT_EQ(correct({last}, 4), 0);
  EXPECT_EQ(correct({2, last}, 2), 1);
  EXPECT_EQ(correct({2, last}, last), 0);
  EXPECT_EQ(correct({c.vocab / 2, c.vocab / 2 + 1}, c.vocab / 2), 1);
  EXPECT_EQ(correct({c.vocab / 2, c.vocab / 2 + 1}, c.vocab / 2 + 1), 0);
}

TEST(HeadLossRows, HugeLogitsStayFinite) {
  for (const Index vocab : {Index{20}, Index{9000}}) {
    Setting<float> s({1, vocab});
    for (float& w : s.weight) w *= 1e4F;
    const Result<float> r = both({1, vocab}, s);
    EXPECT_TRUE(std::isfinite(r.loss.nats));
    for (const float value : r.dx) EXPECT_TRUE(std::isfinite(value));
    for (const float value : r.d_weight) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(HeadLossRows, RefusesForeignTargetsAndTakesNoRows) {
  Setting<double> s({2, 11});
  std::vector<double> log_sums(2);
  for (const std::int32_t target : {-2, 11}) {
    s.targets[1] = target;
    EXPECT_THROW((void)head_loss<double>(s.rows(), std::span(log_sums)), InvariantError);
    EXPECT_THROW((void)head_loss_and_gradients<double>(s.rows(), scale, std::span(log_sums), {}), InvariantError);
    EXPECT_THROW(head_gradients<double>(s.rows(), scale, log_sums, {}), InvariantError);
  }
  const HeadRows<double> none{{nullptr, 0, width, width}, s.rows().weight, {}};
  const LossSums loss = head_loss_and_gradients<double>(none, scale, std::span<double>{}, {});
  EXPECT_EQ(loss.nats, 0.0);
  EXPECT_EQ(loss.correct, 0);
}

}  // namespace
}  // namespace conclave::model
