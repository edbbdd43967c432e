// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/attention.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using test::random_values;
using test::same_bits;
using Values = std::vector<double>;

struct Case {
  AttentionShape shape;
  Index num_groups;
  Index sequences;  // a group
  [[nodiscard]] GroupRows groups() const { return {num_groups, sequences * shape.context}; }
  [[nodiscard]] Index size() const { return groups().total_rows() * shape.width; }
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << "width " << c.shape.width << ", heads " << c.shape.heads << ", context " << c.shape.context << ", "
       << c.num_groups << " groups of " << c.sequences;
}

template <class T>
struct Result {
  std::vector<T> y, dx, d_parameters;
};

// Attention with its parameters behind three others, so that offsets matter.
template <class T>
class Attention {
 public:
  explicit Attention(const AttentionShape& shape)
      : shape_(shape), before_(list_.add_vector("before", 3, {})), layer_(list_, "attention", shape, {}, {}) {}

  [[nodiscard]] Index num_parameters() const { return list_.size(); }
  [[nodiscard]] Range parameters() const { return layer_.parameters(); }

  std::vector<T> forward(const GroupRows& groups, std::span<const T> parameters, std::span<const T> x) {
    std::vector<T> y(x.size(), std::numeric_limits<T>::quiet_NaN());
    layer_.forward(ParameterView<const T>(parameters), groups, view(x), tape_, view(std::span<T>(y)));
    return y;
  }
  Result<T> both(const GroupRows& groups, std::span<const T> parameters, std::span<const T> x, std::span<const T> dy) {
    Result<T> result{forward(groups, parameters, x), std::vector<T>(x.size(), std::numeric_limits<T>::quiet_NaN()),
                     std::vector<T>(parameters.size())};
    const plan::ReducePlan plan(num_parameters(), groups.num_groups, 1);
    GroupGradients<T> gradients(plan, RankId{0});
    layer_.backward(ParameterView<const T>(parameters), groups, view(x), tape_, view(dy), view(std::span<T>(result.dx)),
                    gradients);
    for (const auto sum : gradients.partial_sums()) result.d_parameters.assign(sum.begin(), sum.end());
    return result;
  }

 private:
  template <class U>
  [[nodiscard]] MatrixView<U> view(std::span<U> values) const {
    return as_matrix(values, static_cast<Index>(values.size()) / shape_.width, shape_.width);
  }
  ParameterList list_;
  AttentionShape shape_;
  Tensor before_;
  CausalSelfAttention<T> layer_;
  AttentionTape<T> tape_;
};

// Parameters large enough that the softmax is far from uniform.
template <class T>
std::vector<T> parameters_of(const Attention<T>& attention, const AttentionShape& shape) {
  return random_values<T>(attention.num_parameters(), 1, 1.5 / std::sqrt(static_cast<double>(shape.width)));
}

// One sequence in plain loops: x [context, width], weights as stored, whole score matrices.
class Oracle {
 public:
  Oracle(const AttentionShape& shape, std::span<const double> weights) : shape_(shape), weights_(weights) {}

  [[nodiscard]] Values operator()(std::span<const double> x) const {
    const Index width = shape_.width;
    const Values qkv = product(x, weights_.first(static_cast<std::size_t>(3 * width * width)), 3 * width);
    Values heads_out(x.size());
    for (Index head = 0; head < shape_.heads; ++head) add_head(head, qkv, heads_out);
    return product(heads_out, weights_.subspan(static_cast<std::size_t>(3 * width * width)), width);
  }

 private:
  // x [n, width] times w [outputs, width] transposed.
  [[nodiscard]] Values product(std::span<const double> x, std::span<const double> w, Index outputs) const {
    const Index rows = static_cast<Index>(x.size()) / shape_.width;
    Values y(static_cast<std::size_t>(rows * outputs));
    for (Index i = 0; i < rows; ++i) {
      for (Index o = 0; o < outputs; ++o) {
        for (Index j = 0; j < shape_.width; ++j)
          y[i * outputs + o] += x[i * shape_.width + j] * w[o * shape_.width + j];
      }
    }
    return y;
  }
  // Feature i of q (which = 0) or k (1) at `position`, rotated.
  [[nodiscard]] double rotated(const Values& qkv, Index which, Index head, Index position, Index i) const {
    const Index size = shape_.head_size(), half = size / 2;
    const auto feature = [&](Index f) { return qkv[(position * 3 + which) * shape_.width + head * size + f]; };
    const double angle = static_cast<double>(position) / std::pow(10000.0, 2.0 * (i % half) / size);
    const double sign = i < half ? -1.0 : 1.0;
    return feature(i) * std::cos(angle) + sign * feature(i < half ? i + half : i - half) * std::sin(angle);
  }
  void add_head(Index head, const Values& qkv, Values& heads_out) const {
    const Index size = shape_.head_size();
    for (Index a = 0; a < shape_.context; ++a) {
      Values weight;
      double sum = 0.0;
      for (Index b = 0; b <= a; ++b) {
        double score = 0.0;
        for (Index i = 0; i < size; ++i) score += rotated(qkv, 0, head, a, i) * rotated(qkv, 1, head, b, i);
        weight.push_back(std::exp(score / std::sqrt(static_cast<double>(size))));
        sum += weight.back();
      }
      for (Index b = 0; b <= a; ++b) {
        for (Index i = 0; i < size; ++i) {
          heads_out[a * shape_.width + head * size + i] +=
              weight[b] / sum * qkv[(b * 3 + 2) * shape_.width + head * size + i];
        }
      }
    }
  }
  AttentionShape shape_;
  std::span<const double> weights_;  // qkv [3 width, width], out [width, width]
};

class AttentionTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
  void TearDown() override { use_threads(1); }
};

// Contexts of one token, of less than, exactly, and more than one and two blocks of queries and keys, and of three.
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         testing::Values(Case{{8, 2, 5}, 2, 3}, Case{{6, 1, 1}, 1, 4}, Case{{4, 1, 70}, 2, 1},
                                         Case{{6, 3, 64}, 1, 1}, Case{{4, 2, 65}, 1, 2}, Case{{4, 1, 130}, 1, 1},
                                         Case{{4, 2, 192}, 1, 1}));

TEST_P(AttentionTest, ForwardIsTheFormula) {
  const Case& c = GetParam();
  Attention<double> attention(c.shape);
  const Values parameters = parameters_of(attention, c.shape);
  const Values x = random_values(c.size(), 2);
  const Values y = attention.forward(c.groups(), parameters, x);
  const Oracle oracle(c.shape, std::span(parameters).subspan(3));
  const auto length = static_cast<std::size_t>(c.shape.context * c.shape.width);
  ASSERT_GT(y.size(), 0U);
  for (std::size_t begin = 0; begin < x.size(); begin += length) {
    const Values expected = oracle(std::span(x).subspan(begin, length));
    for (std::size_t i = 0; i < length; ++i) ASSERT_NEAR(y[begin + i], expected[i], 1e-12) << begin << "+" << i;
  }
}

TEST_P(AttentionTest, BackwardIsTheGradient) {
  const Case& c = GetParam();
  Attention<double> attention(c.shape);
  const Values parameters = parameters_of(attention, c.shape);
  const Values x = random_values(c.size(), 2);
  const Values dy = random_values(c.size(), 3);
  const Result<double> result = attention.both(c.groups(), parameters, x, dy);
  const auto objective = [&](std::span<const double> p, std::span<const double> at) {
    return test::weighted_sum(dy, attention.forward(c.groups(), p, at));
  };
  test::expect_gradient([&](auto at) { return objective(parameters, at); }, x, result.dx);
  // A token that sees itself alone has no gradient for q and k: there, v and the output projection remain.
  test::expect_gradient([&](auto at) { return objective(at, x); }, parameters, result.d_parameters,
                        attention.parameters().size() / (c.shape.context == 1 ? 3 : 1) * 9 / 10);
}

TEST_P(AttentionTest, LaterTokensAndOtherSequencesChangeNoBit) {
  const Case& c = GetParam();
  Attention<float> attention(c.shape);
  const auto parameters = parameters_of(attention, c.shape);
  const auto x = random_values<float>(c.size(), 2);
  const auto y = attention.forward(c.groups(), parameters, x);
  for (const Index position : {Index{0}, c.shape.context / 2, c.shape.context - 1}) {
    auto changed = x;  // in the first sequence
    for (Index j = 0; j < c.shape.width; ++j) changed[position * c.shape.width + j] += 1.0F;
    const auto other = attention.forward(c.groups(), parameters, changed);
    Index num_changed = 0;  // of the rows that may see the change; a far one may round it away
    for (Index row = 0; row < c.groups().total_rows(); ++row) {
      const auto begin = static_cast<std::size_t>(row * c.shape.width);
      const auto width = static_cast<std::size_t>(c.shape.width);
      const bool same = same_bits(std::span<const float>(y).subspan(begin, width),
                                  std::span<const float>(other).subspan(begin, width));
      const bool may_change = position <= row && row < c.shape.context;
      EXPECT_TRUE(same || may_change) << "row " << row << " after a change at " << position;
      num_changed += same ? 0 : 1;
    }
    EXPECT_GT(2 * num_changed, c.shape.context - position);
  }
}

TEST_P(AttentionTest, BitsDependNeitherOnThreadsNorOnTheOtherGroups) {
  const Case& c = GetParam();
  Attention<float> attention(c.shape);
  const auto parameters = parameters_of(attention, c.shape);
  const auto x = random_values<float>(c.size(), 2);
  const auto dy = random_values<float>(c.size(), 3);
  const Result<float> one = attention.both(c.groups(), parameters, x, dy);
  use_threads(3);
  const Result<float> three = attention.both(c.groups(), parameters, x, dy);
  EXPECT_TRUE(same_bits<float>(one.y, three.y));
  EXPECT_TRUE(same_bits<float>(one.dx, three.dx));
  EXPECT_TRUE(same_bits<float>(one.d_parameters, three.d_parameters));
  const auto length = static_cast<std::size_t>(c.groups().rows * c.shape.width);
  for (std::size_t begin = 0; begin < x.size(); begin += length) {
    const Result<float> alone = attention.both({1, c.groups().rows}, parameters, std::span(x).subspan(begin, length),
                                               std::span(dy).subspan(begin, length));
    EXPECT_TRUE(same_bits<float>(alone.y, std::span(one.y).subspan(begin, length)));
    EXPECT_TRUE(same_bits<float>(alone.dx, std::span(one.dx).subspan(begin, length)));
  }
}

TEST_P(AttentionTest, FloatIsCloseToDouble) {
  const Case& c = GetParam();
  Attention<double> exact(c.shape);
  Attention<float> attention(c.shape);
  const auto parameters = parameters_of(attention, c.shape);
  const auto x = random_values<float>(c.size(), 2);
  const auto dy = random_values<float>(c.size(), 3);
  const auto wide = [](const std::vector<float>& values) { return Values(values.begin(), values.end()); };
  const Result<float> result = attention.both(c.groups(), parameters, x, dy);
  const Result<double> expected = exact.both(c.groups(), wide(parameters), wide(x), wide(dy));
  const auto expect_close = [&](const std::vector<float>& values, const Values& truth, const char* what) {
    // Rounding of the terms, which are at most as large as the largest value or so, adds up like a random walk.
    double largest = 0.0;
    for (const double value : truth) largest = std::max(largest, std::abs(value));
    const double tolerance = 100.0 * std::numeric_limits<float>::epsilon() * largest;
    EXPECT_GT(largest, 0.1) << what;
    for (std::size_t i = 0; i < truth.size(); ++i) ASSERT_NEAR(values[i], truth[i], tolerance) << what << " " << i;
  };
  expect_close(result.y, expected.y, "y");
  expect_close(result.dx, expected.dx, "dx");
  expect_close(result.d_parameters, expected.d_parameters, "parameters");
}

TEST(Attention, ARankWithoutGroups) {
  const AttentionShape shape{8, 2, 5};
  ParameterList list;
  const CausalSelfAttention<float> layer(list, "attention", shape, {}, {});
  const std::vector<float> parameters = random_values<float>(list.size(), 1);
  const plan::ReducePlan plan(list.size(), 2, 3);
  GroupGradients<float> gradients(plan, RankId{2});
  AttentionTape<float> tape;
  const MatrixView<float> none{nullptr, 0, 8, 8};
  const ParameterView<const float> view{std::span<const float>(parameters)};
  layer.forward(view, {0, 15}, none, tape, none);
  layer.backward(view, {0, 15}, none, tape, none, none, gradients);
  EXPECT_TRUE(gradients.partial_sums().empty());
}

TEST(Attention, LargeScoresStayFinite) {
  const AttentionShape shape{4, 1, 9};
  Attention<float> attention(shape);
  const std::vector<float> parameters = random_values<float>(attention.num_parameters(), 1, 10.0);
  const std::vector<float> x = random_values<float>(36, 2, 10.0);
  const Result<float> result = attention.both({1, 9}, parameters, x, x);
  for (const float value : result.y) EXPECT_TRUE(std::isfinite(value));
  for (const float value : result.dx) EXPECT_TRUE(std::isfinite(value));
}

TEST(Attention, NamesItsTensorsAndRefusesImpossibleShapes) {
  ParameterList list;
  const CausalSelfAttention<float> layer(list, "block/0/attention", {8, 2, 5}, {.deviation = 0.1}, {.deviation = 0.2});
  ASSERT_EQ(list.entries().size(), 2U);
  EXPECT_EQ(list.entries()[0].name, "block/0/attention/qkv");
  EXPECT_EQ(list.entries()[0].shape, (std::vector<Index>{24, 8}));
  EXPECT_EQ(list.entries()[1].name, "block/0/attention/out");
  EXPECT_EQ(list.entries()[1].initial.deviation, 0.2);
  EXPECT_EQ(layer.parameters(), (Range{0, list.size()}));
  for (const AttentionShape& shape : {AttentionShape{8, 3, 5}, AttentionShape{9, 3, 5}, AttentionShape{8, 0, 5},
                                      AttentionShape{0, 1, 5}, AttentionShape{8, 2, 0}}) {
    EXPECT_THROW(CausalSelfAttention<float>(list, "attention", shape, {}, {}), InputError) << shape.width;
  }
  AttentionTape<float> tape;
  Matrix<float> x(7, 8), y(7, 8);  // not a whole number of sequences
  std::vector<float> parameters(static_cast<std::size_t>(list.size()));
  EXPECT_THROW(layer.forward(ParameterView<const float>(std::span<const float>(parameters)), {1, 7}, x, tape, y),
               InvariantError);
}

}  // namespace
}  // namespace conclave::model
