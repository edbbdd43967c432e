// SPDX-License-Identifier: BSD-3-Clause
// Every kind of expert, with and without biases: forward against plain loops, backward against central differences.
#include "experts/feed_forward.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/experts/reference_expert.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::experts {
namespace {

using test::random_values;
using test::reference_expert_rows;
using test::Values;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// One expert with its values and room for n rows of everything; what is to be written begins as NaN.
struct Bench {
  Bench(const ExpertShape& s, Index num_rows)
      : shape(s),
        rows(num_rows),
        function(list, "e/", s, 1.0),
        values(random_values(list.size(), 1, 0.5)),
        gradient(values.size(), nan),
        x(random_values(rows * s.width, 2)),
        dy(random_values(rows * s.width, 3)),
        y(x.size(), nan),
        dx(x.size(), nan) {
    for (Matrix<double>* m : {&pre, &gate, &hidden, &d_pre, &d_gate}) {
      m->resize(rows, function.tape_columns());
      m->fill(nan);
    }
  }
  FeedForwardTape<double> tape() { return {pre.view(), gate.view(), hidden.view()}; }
  ParameterView<const double> parameters() const { return ParameterView<const double>(values); }
  MatrixView<double> matrix(Values& v) const { return as_matrix(std::span(v), rows, shape.width); }
  void forward() { function.forward(parameters(), matrix(x), tape(), matrix(y)); }
  void backward_input(double beta) {
    function.backward_input(parameters(), tape(), matrix(dy), d_pre.view(), d_gate.view(), beta, matrix(dx));
  }
  void backward_weights(bool accumulate) {
    function.backward_weights(matrix(x), tape(), matrix(dy), d_pre.view(), d_gate.view(), accumulate,
                              ParameterView<double>(gradient));
  }

  ExpertShape shape;
  Index rows;
  ParameterList list;
  FeedForward<double> function;
  Values values, gradient, x, dy, y, dx;
  Matrix<double> pre, gate, hidden, d_pre, d_gate;
};

void expect_near(std::span<const double> values, std::span<const double> expected, double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], tolerance) << i;
}

class FeedForwardTest : public testing::TestWithParam<std::tuple<ExpertKind, bool>> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
  static ExpertShape shape() { return {std::get<0>(GetParam()), 7, 11, std::get<1>(GetParam())}; }
};

TEST_P(FeedForwardTest, ForwardIsTheFormula) {
  for (const Index rows : {0, 1, 5, 64}) {
    Bench b(shape(), rows);
    b.forward();
    const Values expected = reference_expert_rows(b.shape, b.list, b.values, b.x);
    expect_near(b.y, expected, 1e-13);
    EXPECT_EQ(std::count(expected.begin(), expected.end(), 0.0), 0);
  }
}

TEST_P(FeedForwardTest, BackwardIsTheGradient) {
  Bench b(shape(), 5);
  b.forward();
  b.backward_input(0.0);
  b.backward_weights(false);
  test::expect_gradient(
      [&](std::span<const double> x) {
        return test::weighted_sum(b.dy, reference_expert_rows(b.shape, b.list, b.values, x));
      },
      b.x, b.dx);
  test::expect_gradient(
      [&](std::span<const double> values) {
        return test::weighted_sum(b.dy, reference_expert_rows(b.shape, b.list, values, b.x));
      },
      b.values, b.gradient);
}

TEST_P(FeedForwardTest, BackwardAddsWhereAskedTo) {
  Bench b(shape(), 5);
  b.forward();
  b.backward_input(0.0);
  b.backward_weights(false);
  const Values dx = b.dx;
  const Values gradient = b.gradient;
  for (double& v : b.dx) v += 1.0;
  for (double& v : b.gradient) v += 1.0;
  b.backward_input(2.0);
  b.backward_weights(true);
  for (std::size_t i = 0; i < dx.size(); ++i) ASSERT_NEAR(b.dx[i], 3.0 * dx[i] + 2.0, 1e-12) << i;
  for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_NEAR(b.gradient[i], 2.0 * gradient[i] + 1.0, 1e-12) << i;
}

TEST_P(FeedForwardTest, NoRowsHaveNoGradient) {
  Bench b(shape(), 0);
  b.forward();
  b.backward_input(0.0);
  b.backward_weights(false);
  EXPECT_EQ(b.gradient, Values(b.gradient.size(), 0.0)) << "set, over what was there";
  b.gradient.assign(b.gradient.size(), 2.0);
  b.backward_weights(true);
  EXPECT_EQ(b.gradient, Values(b.gradient.size(), 2.0));
}

TEST_P(FeedForwardTest, RowsMayBeStrided) {
  Bench b(shape(), 5);
  b.forward();
  b.backward_input(0.0);
  Matrix<double> wide_x(5, 20), wide_y(5, 20), wide_dx(5, 20);
  const auto columns = [](Matrix<double>& m) { return m.view().col_block(3, 7); };
  for (Index i = 0; i < 5; ++i) std::copy_n(b.matrix(b.x).row(i).data(), 7, columns(wide_x).row(i).data());
  b.function.forward(b.parameters(), columns(wide_x), b.tape(), columns(wide_y));
  b.function.backward_input(b.parameters(), b.tape(), b.matrix(b.dy), b.d_pre.view(), b.d_gate.view(), 0.0,
                            columns(wide_dx));
  for (Index i = 0; i < 5; ++i) {
    expect_near(columns(wide_y).row(i), b.matrix(b.y).row(i), 1e-13);
    expect_near(columns(wide_dx).row(i), b.matrix(b.dx).row(i), 1e-13);
    EXPECT_EQ(wide_y(i, 2), 0.0);
    EXPECT_EQ(wide_y(i, 10), 0.0);
  }
}

TEST_P(FeedForwardTest, DescribesItself) {
  const ExpertShape s = shape();
  ParameterList list;
  list.add_vector("before", 3, {});
  const FeedForward<double> function(list, "e/", s, 0.25);
  const bool linear = s.kind == ExpertKind::linear;
  const bool gated = s.kind == ExpertKind::swiglu;
  const double into = 1.0 / std::sqrt(7.0);
  const double out_of = 0.25 / std::sqrt(11.0);
  std::vector<std::tuple<std::string, std::vector<Index>, double>> expected;
  if (linear) {
    expected.emplace_back("e/w1", std::vector<Index>{7, 7}, 0.25 / std::sqrt(7.0));
    if (s.bias) expected.emplace_back("e/b1", std::vector<Index>{7}, 0.0);
  } else {
    expected.emplace_back("e/w1", std::vector<Index>{11, 7}, into);
    if (s.bias) expected.emplace_back("e/b1", std::vector<Index>{11}, 0.0);
    if (gated) expected.emplace_back("e/w3", std::vector<Index>{11, 7}, into);
    if (gated && s.bias) expected.emplace_back("e/b3", std::vector<Index>{11}, 0.0);
    expected.emplace_back("e/w2", std::vector<Index>{7, 11}, out_of);
    if (s.bias) expected.emplace_back("e/b2", std::vector<Index>{7}, 0.0);
  }
  ASSERT_EQ(list.entries().size(), expected.size() + 1);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const ParameterEntry& entry = list.entries()[i + 1];
    EXPECT_EQ(entry.name, std::get<0>(expected[i]));
    EXPECT_EQ(entry.shape, std::get<1>(expected[i])) << entry.name;
    EXPECT_DOUBLE_EQ(entry.initial.deviation, std::get<2>(expected[i])) << entry.name;
    EXPECT_EQ(entry.initial.constant, 0.0) << entry.name;
  }
  EXPECT_EQ(function.parameters(), (Range{3, list.size()}));
  EXPECT_EQ(function.shape(), s);
  EXPECT_EQ(function.has_gate(), gated);
  EXPECT_EQ(function.tape_columns(), linear ? 0 : 11);
  EXPECT_EQ(function.flops_per_row(), 2 * (linear ? 49 : (gated ? 3 : 2) * 77));
}

INSTANTIATE_TEST_SUITE_P(Kinds, FeedForwardTest,
                         testing::Combine(testing::Values(ExpertKind::linear, ExpertKind::relu, ExpertKind::gelu,
                                                          ExpertKind::swiglu),
                                          testing::Bool()),
                         [](const auto& kind) {
                           return fmt::format("{}{}", name_of(std::get<0>(kind.param)),
                                              std::get<1>(kind.param) ? "WithBias" : "");
                         });

TEST(FeedForwardShapeTest, WidthsAreAtLeastOne) {
  ParameterList list;
  EXPECT_THROW(FeedForward<double>(list, "a/", {ExpertKind::gelu, 0, 4, false}, 1.0), InvariantError);
  EXPECT_THROW(FeedForward<double>(list, "b/", {ExpertKind::gelu, 4, 0, false}, 1.0), InvariantError);
  EXPECT_NO_THROW(FeedForward<double>(list, "c/", {ExpertKind::linear, 4, 0, false}, 1.0));
}

}  // namespace
}  // namespace conclave::experts
