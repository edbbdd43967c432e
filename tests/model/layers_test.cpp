// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/layers.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using test::expect_gradient;
using test::random_values;
using test::weighted_sum;
using Values = std::vector<double>;

class LayersTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};
using RmsNormTest = LayersTest;
using EmbeddingTest = LayersTest;
using LinearTest = LayersTest;

ParameterView<const double> view_of(std::span<const double> values) { return ParameterView<const double>(values); }
ConstMatrixView<double> rows_of(std::span<const double> values, Index cols) {
  return as_matrix(values, static_cast<Index>(values.size()) / cols, cols);
}
MatrixView<double> rows_of(Values& values, Index cols) {
  return as_matrix(std::span<double>(values), static_cast<Index>(values.size()) / cols, cols);
}

Values norm(const RmsNorm<double>& layer, std::span<const double> gain, std::span<const double> x, Index width) {
  Values y(x.size());
  Values inverse_rms(x.size() / static_cast<std::size_t>(width));
  layer.forward(view_of(gain), rows_of(x, width), inverse_rms, rows_of(y, width));
  return y;
}

TEST_F(RmsNormTest, IsTheFormula) {
  const Index rows = 3, width = 37;
  ParameterList list;
  const RmsNorm<double> layer(list, "norm", width);
  const Values gain = random_values(width, 1, 0.3, 1.0);
  const Values x = random_values(rows * width, 2, 4.0);
  const Values y = norm(layer, gain, x, width);
  for (Index i = 0; i < rows; ++i) {
    double squares = 0.0;
    for (Index j = 0; j < width; ++j) squares += x[i * width + j] * x[i * width + j];
    for (Index j = 0; j < width; ++j) {
      const double expected = x[i * width + j] / std::sqrt(squares / width + 1e-6) * gain[j];
      EXPECT_NEAR(y[i * width + j], expected, 1e-13);
    }
  }
}

TEST_F(RmsNormTest, GainBeginsAtOneAndDoesNotDecay) {
  ParameterList list;
  list.add_vector("before", 3, {});
  const RmsNorm<double> layer(list, "norm", 5);
  EXPECT_EQ(layer.parameters(), (Range{3, 8}));
  EXPECT_FALSE(list.entries().back().decays);
  Values values(8, 7.0);
  initialise<double>(list, {0, 8}, 1, values);
  EXPECT_EQ(values, (Values{0, 0, 0, 1, 1, 1, 1, 1}));
}

TEST_F(RmsNormTest, ZeroRowsAndRowsOfZeros) {
  ParameterList list;
  const RmsNorm<double> layer(list, "norm", 4);
  const Values gain(4, 1.0);
  EXPECT_TRUE(norm(layer, gain, {}, 4).empty());
  EXPECT_EQ(norm(layer, gain, Values(4, 0.0), 4), Values(4, 0.0));
}

TEST_F(RmsNormTest, BackwardIsTheGradientAndAddsToBoth) {
  const Index rows = 3, width = 37;
  ParameterList list;
  const RmsNorm<double> layer(list, "norm", width);
  const Values gain = random_values(width, 1, 0.3, 1.0);
  const Values x = random_values(rows * width, 2);
  const Values dy = random_values(rows * width, 3);
  Values y(x.size()), inverse_rms(rows);
  layer.forward(view_of(gain), rows_of(x, width), inverse_rms, rows_of(y, width));
  Values dx(x.size(), 2.0), d_gain(gain.size(), 3.0);
  layer.backward(view_of(gain), rows_of(x, width), inverse_rms, rows_of(dy, width), rows_of(dx, width),
                 ParameterView<double>(d_gain));
  for (double& value : dx) value -= 2.0;
  for (double& value : d_gain) value -= 3.0;
  expect_gradient([&](auto at) { return weighted_sum(dy, norm(layer, gain, at, width)); }, x, dx);
  expect_gradient([&](auto at) { return weighted_sum(dy, norm(layer, at, x, width)); }, gain, d_gain);
}

TEST_F(EmbeddingTest, GathersAndAddsRows) {
  const Index vocab = 6, width = 5;
  ParameterList list;
  list.add_vector("before", 2, {});
  const Embedding<double> layer(list, "embedding", vocab, width, {.deviation = 0.02});
  EXPECT_EQ(layer.parameters(), (Range{2, 2 + vocab * width}));
  EXPECT_EQ(list.entries().back().initial.deviation, 0.02);
  const std::vector<std::int32_t> tokens{4, 0, 4, 5};
  const Values table = random_values(2 + vocab * width, 1);
  const Values dy = random_values(4 * width, 2);
  const auto forward = [&](std::span<const double> values) {
    Values y(dy.size(), 9.0);
    layer.forward(view_of(values), tokens, rows_of(y, width));
    return y;
  };
  const Values y = forward(table);
  for (std::size_t i = 0; i < 4; ++i) {
    for (Index j = 0; j < width; ++j) {
      EXPECT_EQ(y[i * width + j], table[2 + static_cast<std::size_t>(tokens[i]) * width + j]);
    }
  }
  Values d_table(table.size(), 1.0);
  layer.backward(tokens, rows_of(dy, width), ParameterView<double>(d_table));
  for (double& value : d_table) value -= 1.0;
  // Three of the six rows are used.
  expect_gradient([&](auto at) { return weighted_sum(dy, forward(at)); }, table, d_table, 3 * width);
  EXPECT_NO_THROW(layer.forward(view_of(table), {}, MatrixView<double>{nullptr, 0, width, width}));
}

TEST_F(EmbeddingTest, RefusesAForeignToken) {
  ParameterList list;
  const Embedding<double> layer(list, "embedding", 3, 2, {});
  Values table(6), y(2);
  for (const std::int32_t token : {-1, 3}) {
    const std::vector<std::int32_t> tokens{token};
    EXPECT_THROW(layer.forward(view_of(table), tokens, rows_of(y, 2)), InvariantError);
    EXPECT_THROW(layer.backward(tokens, rows_of(y, 2), ParameterView<double>(table)), InvariantError);
  }
}

class LinearBiasTest : public LayersTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Bias, LinearBiasTest, testing::Bool());

TEST_P(LinearBiasTest, ForwardIsTheFormulaAndBackwardItsGradient) {
  const bool has_bias = GetParam();
  const Index rows = 5, inputs = 7, outputs = 4;
  ParameterList list;
  const Linear<double> layer(list, "linear", inputs, outputs, {.deviation = 0.1},
                             has_bias ? std::optional<Initial>{Initial{}} : std::nullopt);
  EXPECT_EQ(layer.parameters(), (Range{0, outputs * inputs + (has_bias ? outputs : 0)}));
  EXPECT_EQ(list.size(), layer.parameters().end);
  const Values weights = random_values(list.size(), 1);
  const Values x = random_values(rows * inputs, 2);
  const Values dy = random_values(rows * outputs, 3);
  const auto forward = [&](std::span<const double> values, std::span<const double> at) {
    Values y(dy.size(), std::numeric_limits<double>::quiet_NaN());
    layer.forward(view_of(values), rows_of(at, inputs), rows_of(y, outputs));
    return y;
  };
  const Values y = forward(weights, x);
  for (Index i = 0; i < rows; ++i) {
    for (Index o = 0; o < outputs; ++o) {
      double sum = has_bias ? weights[outputs * inputs + o] : 0.0;
      for (Index j = 0; j < inputs; ++j) sum += x[i * inputs + j] * weights[o * inputs + j];
      EXPECT_NEAR(y[i * outputs + o], sum, 1e-13);
    }
  }
  Values d_weights(weights.size(), 1.0), dx(x.size(), std::numeric_limits<double>::quiet_NaN());
  layer.backward(view_of(weights), rows_of(x, inputs), rows_of(dy, outputs), 0.0, rows_of(dx, inputs),
                 ParameterView<double>(d_weights));
  Values added(x.size(), 5.0), again(weights.size());
  layer.backward(view_of(weights), rows_of(x, inputs), rows_of(dy, outputs), 1.0, rows_of(added, inputs),
                 ParameterView<double>(again));
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(added[i], 5.0 + dx[i], 1e-13);
  for (double& value : d_weights) value -= 1.0;
  expect_gradient([&](auto at) { return weighted_sum(dy, forward(weights, at)); }, x, dx);
  expect_gradient([&](auto at) { return weighted_sum(dy, forward(at, x)); }, weights, d_weights);
}

TEST_F(LinearTest, ZeroRowsAddNothing) {
  ParameterList list;
  const Linear<float> layer(list, "linear", 3, 2, {.deviation = 1.0}, Initial{});
  const std::vector<float> weights = random_values<float>(list.size(), 1);
  std::vector<float> leaf(weights.size(), 4.0F);
  const MatrixView<float> x{nullptr, 0, 3, 3}, y{nullptr, 0, 2, 2};
  const ParameterView<const float> parameters{std::span<const float>(weights)};
  layer.forward(parameters, x, y);
  layer.backward(parameters, x, y, 0.0F, x, ParameterView<float>(leaf));
  EXPECT_EQ(leaf, std::vector<float>(weights.size(), 4.0F));
}

}  // namespace
}  // namespace conclave::model
