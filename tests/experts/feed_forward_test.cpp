// SPDX-License-Identifier: BSD-3-Clause
// Every kind of expert, with and without biases, with matrices of its own and as a base and a delta: forward against
// plain loops, backward against central differences.
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
        base(s.delta_rank > 0 ? base_parameters(s, "base/", 1.0) : ParameterList()),
        function(list, "e/", s, 1.0),
        values(random_values(list.size(), 1, 0.5)),
        base_values(random_values(base.size(), 4, 0.5)),
        gradient(values.size(), nan),
        base_gradient(base_values.size(), 0.0),
        x(random_values(rows * s.width, 2)),
        dy(random_values(rows * s.width, 3)),
        y(x.size(), nan),
        dx(x.size(), nan) {
    for (Matrix<double>* m : {&pre, &gate, &hidden, &d_pre, &d_gate}) {
      m->resize(rows, function.tape_columns());
      m->fill(nan);
    }
    for (Matrix<double>* m : {&low, &d_low}) {
      m->resize(rows, function.low_columns());
      m->fill(nan);
    }
  }
  FeedForwardTape<double> tape() { return {pre.view(), gate.view(), hidden.view(), low.view()}; }
  FeedForwardTape<double> d_tape() { return {d_pre.view(), d_gate.view(), {}, d_low.view()}; }
  ExpertValues<double> parameters() const {
    return {ParameterView<const double>(values), ParameterView<const double>(base_values)};
  }
  // The definition.
  Values reference(std::span<const double> own, std::span<const double> shared, std::span<const double> at) const {
    return reference_expert_rows(shape, list, own, at, {base, shared});
  }
  Values reference() const { return reference(values, base_values, x); }
  MatrixView<double> matrix(Values& v) const { return as_matrix(std::span(v), rows, shape.width); }
  void forward() { function.forward(parameters(), matrix(x), tape(), matrix(y)); }
  void backward_input(double beta) {
    function.backward_input(parameters(), tape(), matrix(dy), d_tape(), beta, matrix(dx));
  }
  void backward_weights(bool accumulate) {
    function.backward_weights(matrix(x), tape(), matrix(dy), d_tape(), accumulate, ParameterView<double>(gradient));
  }
  void backward_base() {
    function.backward_base(matrix(x), tape(), matrix(dy), d_tape(), ParameterView<double>(base_gradient));
  }

  ExpertShape shape;
  Index rows;
  ParameterList list, base;
  FeedForward<double> function;
  Values values, base_values, gradient, base_gradient, x, dy, y, dx;
  Matrix<double> pre, gate, hidden, d_pre, d_gate, low, d_low;
};

void expect_near(std::span<const double> values, std::span<const double> expected, double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], tolerance) << i;
}

class FeedForwardTest : public testing::TestWithParam<std::tuple<ExpertKind, bool, Index>> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
  static ExpertShape shape() {
    return {std::get<0>(GetParam()), 7, 11, std::get<1>(GetParam()), std::get<2>(GetParam())};
  }
};

TEST_P(FeedForwardTest, ForwardIsTheFormula) {
  for (const Index rows : {0, 1, 5, 64}) {
    Bench b(shape(), rows);
    b.forward();
    const Values expected = b.reference();
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
      [&](std::span<const double> x) { return test::weighted_sum(b.dy, b.reference(b.values, b.base_values, x)); }, b.x,
      b.dx);
  test::expect_gradient(
      [&](std::span<const double> values) { return test::weighted_sum(b.dy, b.reference(values, b.base_values, b.x)); },
      b.values, b.gradient);
  if (b.base.size() == 0) return;
  b.backward_base();
  test::expect_gradient(
      [&](std::span<const double> shared) { return test::weighted_sum(b.dy, b.reference(b.values, shared, b.x)); },
      b.base_values, b.base_gradient);
  const Values once = b.base_gradient;
  b.backward_base();
  for (std::size_t i = 0; i < once.size(); ++i) ASSERT_NEAR(b.base_gradient[i], 2.0 * once[i], 1e-12) << "a sum";
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
  if (b.base.size() == 0) return;
  b.backward_base();
  EXPECT_EQ(b.base_gradient, Values(b.base.size(), 0.0));
}

TEST_P(FeedForwardTest, RowsMayBeStrided) {
  Bench b(shape(), 5);
  b.forward();
  b.backward_input(0.0);
  Matrix<double> wide_x(5, 20), wide_y(5, 20), wide_dx(5, 20);
  const auto columns = [](Matrix<double>& m) { return m.view().col_block(3, 7); };
  for (Index i = 0; i < 5; ++i) std::copy_n(b.matrix(b.x).row(i).data(), 7, columns(wide_x).row(i).data());
  b.function.forward(b.parameters(), columns(wide_x), b.tape(), columns(wide_y));
  b.function.backward_input(b.parameters(), b.tape(), b.matrix(b.dy), b.d_tape(), 0.0, columns(wide_dx));
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
  std::vector<std::tuple<std::string, std::vector<Index>, double>> expected;
  const auto matrix = [&](const std::string& name, Index out, Index in, double scale) {
    const double deviation = 1.0 / std::sqrt(static_cast<double>(in));
    if (s.delta_rank == 0) {
      expected.emplace_back(name, std::vector<Index>{out, in}, scale * deviation);
    } else {
      expected.emplace_back(name + "_a", std::vector<Index>{out, s.delta_rank}, 0.0);
      expected.emplace_back(name + "_b", std::vector<Index>{s.delta_rank, in}, deviation);
    }
  };
  const auto vector = [&](const std::string& name, Index size) {
    if (s.bias) expected.emplace_back(name, std::vector<Index>{size}, 0.0);
  };
  matrix("e/w1", linear ? 7 : 11, 7, linear ? 0.25 : 1.0);
  vector("e/b1", linear ? 7 : 11);
  if (gated) matrix("e/w3", 11, 7, 1.0);
  if (gated) vector("e/b3", 11);
  if (!linear) matrix("e/w2", 7, 11, 0.25);
  if (!linear) vector("e/b2", 7);
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
  const Index matrices = linear ? 1 : gated ? 3 : 2;
  EXPECT_EQ(function.low_columns(), matrices * s.delta_rank);
  EXPECT_EQ(function.flops_per_row(), 2 * matrices * (linear ? 49 + s.delta_rank * 14 : 77 + s.delta_rank * 18));
}

TEST_P(FeedForwardTest, WhatExpertsShareIsTheirMatricesWithoutBiases) {
  const ExpertShape s = shape();
  const ParameterList base = base_parameters(s, "layer/base/", 0.25);
  ParameterList own;
  const FeedForward<double> function(own, "layer/base/", {s.kind, s.width, s.hidden, false, 0}, 0.25);
  ASSERT_EQ(base.entries().size(), own.entries().size());
  for (std::size_t i = 0; i < base.entries().size(); ++i) {
    EXPECT_EQ(base.entries()[i].name, own.entries()[i].name);
    EXPECT_EQ(base.entries()[i].shape, own.entries()[i].shape);
    EXPECT_EQ(base.entries()[i].initial.deviation, own.entries()[i].initial.deviation);
    EXPECT_GT(base.entries()[i].initial.deviation, 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, FeedForwardTest,
                         testing::Combine(testing::Values(ExpertKind::linear, ExpertKind::relu, ExpertKind::gelu,
                                                          ExpertKind::swiglu),
                                          testing::Bool(), testing::Values(Index{0}, Index{1}, Index{3})),
                         [](const auto& kind) {
                           const Index rank = std::get<2>(kind.param);
                           return fmt::format("{}{}{}", name_of(std::get<0>(kind.param)),
                                              std::get<1>(kind.param) ? "WithBias" : "",
                                              rank == 0 ? "" : fmt::format("WithDeltaOfRank{}", rank));
                         });

TEST(FeedForwardShapeTest, WidthsAreAtLeastOne) {
  ParameterList list;
  EXPECT_THROW(FeedForward<double>(list, "a/", {ExpertKind::gelu, 0, 4, false}, 1.0), InvariantError);
  EXPECT_THROW(FeedForward<double>(list, "b/", {ExpertKind::gelu, 4, 0, false}, 1.0), InvariantError);
  EXPECT_NO_THROW(FeedForward<double>(list, "c/", {ExpertKind::linear, 4, 0, false}, 1.0));
}

}  // namespace
}  // namespace conclave::experts
