// SPDX-License-Identifier: BSD-3-Clause
// A shard computes each expert as if it were alone: whatever else is there, on any number of threads.
#include "experts/expert_shard.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "tests/experts/reference_expert.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace conclave::experts {
namespace {

using test::random_values;
using test::same_bits;

// A row's bits do depend on how many rows share a product, but with some kernels of BLAS not before rows of about 32.
constexpr Index layer_width = 40;

// Kinds and hidden widths of a layer of seven experts.
std::vector<ExpertShape> layer_shapes(bool bias, Index width = layer_width) {
  return {{ExpertKind::gelu, width, 12, bias},   {ExpertKind::swiglu, width, 40, bias},
          {ExpertKind::linear, width, 0, bias},  {ExpertKind::relu, width, 33, bias},
          {ExpertKind::swiglu, width, 16, bias}, {ExpertKind::gelu, width, 7, bias},
          {ExpertKind::linear, width, 9, bias}};
}
// Seven experts that share a base.
std::vector<ExpertShape> shared_layer(bool bias, Index width = layer_width) {
  return std::vector<ExpertShape>(7, {ExpertKind::swiglu, width, 36, bias, 5});
}
std::vector<std::vector<ExpertShape>> layers() {
  return {layer_shapes(false), layer_shapes(true), shared_layer(false), shared_layer(true)};
}
// Two blocks and a remainder for one, one and a remainder for another, none for two. The remainders are small
// because some kernels of BLAS round only small products differently.
const std::vector<Index> layer_rows = {3, 1030, 0, 17, 0, 1, 520};

template <class T>
std::vector<T> expert_values(Index size, Index expert) {
  return random_values<T>(size, 100 + expert, 0.2);
}

// Experts of the layer with the rows that the test gives each. An expert's values and rows depend on its global number
// (and the step) alone.
template <class T>
struct Bench {
  Bench(const std::vector<ExpertShape>& shapes, std::vector<Index> numbers)
      : width(shapes[0].width), mine(std::move(numbers)), shard(make(shapes)) {
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const auto values = expert_values<T>(static_cast<Index>(shard.values(local(i)).size()), mine[i]);
      std::copy(values.begin(), values.end(), shard.values(local(i)).begin());
    }
    const auto shared = expert_values<T>(static_cast<Index>(shard.base_values().size()), 99);
    std::copy(shared.begin(), shared.end(), shard.base_values().begin());
  }
  static LocalExpertId local(std::size_t i) { return LocalExpertId{static_cast<Index>(i)}; }

  // One step, forward and backward, the experts in `waves` parts one after another.
  void run(const std::vector<Index>& rows_per_expert, Index step = 0, Index waves = 1) {
    x.clear();
    dy.clear();
    first.assign(1, 0);
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const auto more_x = random_values<T>(rows_per_expert[i] * width, 1000 * step + 200 + mine[i]);
      const auto more_dy = random_values<T>(rows_per_expert[i] * width, 1000 * step + 300 + mine[i]);
      x.insert(x.end(), more_x.begin(), more_x.end());
      dy.insert(dy.end(), more_dy.begin(), more_dy.end());
      first.push_back(x.size());
    }
    y.assign(x.size(), std::numeric_limits<T>::quiet_NaN());
    dx.assign(x.size(), std::numeric_limits<T>::quiet_NaN());
    base_terms.clear();
    shard.begin(rows_per_expert);
    for (Index wave = 0; wave < waves; ++wave) {
      const Range experts = even_share(std::ssize(mine), waves, wave);
      shard.forward(experts, rows_of<const T>(x, experts), rows_of<T>(y, experts));
    }
    for (Index wave = waves - 1; wave >= 0; --wave) {
      const Range experts = even_share(std::ssize(mine), waves, wave);
      shard.backward_input(experts, rows_of<const T>(dy, experts), rows_of<T>(dx, experts));
      shard.backward_weights(experts, rows_of<const T>(x, experts), rows_of<const T>(dy, experts));
    }
    if (shard.base_values().empty()) return;
    for (Index wave = 0; wave < waves; ++wave) {
      const Range experts = even_share(std::ssize(mine), waves, wave);
      for (Index i = experts.begin; i < experts.end; ++i) {
        auto& term = base_terms.emplace_back(shard.base_values().size(), T{0});
        shard.backward_base(experts, LocalExpertId{i}, rows_of<const T>(x, experts), rows_of<const T>(dy, experts),
                            ParameterView<T>(term));
      }
    }
  }
  // Of these experts' rows.
  template <class U>
  MatrixView<U> rows_of(std::vector<T>& all, Range experts) {
    const std::size_t begin = first[static_cast<std::size_t>(experts.begin)];
    const std::size_t count = first[static_cast<std::size_t>(experts.end)] - begin;
    return as_matrix<U>(std::span<U>(all).subspan(begin, count), static_cast<Index>(count) / width, width);
  }
  // Of expert i's rows.
  std::span<const T> part(const std::vector<T>& all, std::size_t i) const {
    return std::span(all).subspan(first[i], first[i + 1] - first[i]);
  }

  Index width;
  std::vector<Index> mine;
  ParameterList base;  // what the experts share
  ExpertShard<T> shard;
  std::vector<T> x, dy, y, dx;
  std::vector<std::size_t> first;
  std::vector<std::vector<T>> base_terms;  // of each expert; none where nothing is shared

 private:
  ExpertShard<T> make(const std::vector<ExpertShape>& shapes) {
    std::vector<HostedExpert> ids;
    for (const Index e : mine) ids.push_back({ExpertId{e}});
    if (shapes.front().delta_rank > 0) base = base_parameters(shapes.front(), "layer/base/", 1.0);
    return ExpertShard<T>(shapes, ids, "layer/expert/", 1.0, base);
  }
};

const std::vector<Index> all_experts = {0, 1, 2, 3, 4, 5, 6};

template <class T>
class ExpertShardTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
  void TearDown() override { use_threads(1); }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(ExpertShardTest, Scalars);

std::vector<double> in_double(std::span<const double> v) { return {v.begin(), v.end()}; }
std::vector<double> in_double(std::span<const float> v) { return {v.begin(), v.end()}; }

template <class T>
void expect_near(std::span<const T> values, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  double scale = 1.0;
  for (const double v : expected) scale = std::max(scale, std::abs(v));
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(values[i], expected[i], tolerance * scale) << i;
}

// Expert i's input gradient and weights' gradient, with all its rows in one call.
template <class T>
struct WholeBackward {
  WholeBackward(Bench<T>& b, std::size_t i)
      : x(in_double(b.part(b.x, i))), dy(in_double(b.part(b.dy, i))), dx(x.size()) {
    const ExpertShape shape = b.shard.function(b.local(i)).shape();
    ParameterList list;
    const FeedForward<double> function(list, "", shape, 1.0);
    const std::vector<double> values = in_double(std::span<const T>(b.shard.values(b.local(i))));
    const std::vector<double> base = in_double(std::span<const T>(b.shard.base_values()));
    const ExpertValues<double> parameters{ParameterView<const double>(values), ParameterView<const double>(base)};
    gradient.resize(values.size());
    const auto rows = static_cast<Index>(x.size()) / shape.width;
    Matrix<double> tapes[5];
    for (Matrix<double>& tape : tapes) tape.resize(rows, function.tape_columns());
    Matrix<double> low(rows, function.low_columns()), d_low(rows, function.low_columns());
    const FeedForwardTape<double> tape{tapes[0].view(), tapes[1].view(), tapes[2].view(), low.view()};
    const FeedForwardTape<double> d_tape{tapes[3].view(), tapes[4].view(), {}, d_low.view()};
    std::vector<double> y(x.size());
    const auto matrix = [&](std::vector<double>& v) { return as_matrix(std::span(v), rows, shape.width); };
    function.forward(parameters, matrix(x), tape, matrix(y));
    function.backward_input(parameters, tape, matrix(dy), d_tape, 0.0, matrix(dx));
    function.backward_weights(matrix(x), tape, matrix(dy), d_tape, false, ParameterView<double>(gradient));
    base_term.resize(base.size());
    if (!base.empty()) function.backward_base(matrix(x), tape, matrix(dy), d_tape, ParameterView<double>(base_term));
  }
  std::vector<double> x, dy, dx, gradient, base_term;
};

TYPED_TEST(ExpertShardTest, EachExpertIsAppliedToItsRows) {
  using T = TypeParam;
  const double tolerance = std::is_same_v<T, float> ? 2e-5 : 2e-13;
  for (const auto& shapes : layers()) {
    Bench<T> b(shapes, all_experts);
    b.run(layer_rows);
    ASSERT_EQ(b.shard.num_experts(), 7);
    for (std::size_t i = 0; i < all_experts.size(); ++i) {
      SCOPED_TRACE(fmt::format("expert {}", i));
      const auto id = b.local(i);
      EXPECT_EQ(b.shard.global(id), ExpertId{all_experts[i]});
      ASSERT_EQ(static_cast<Index>(b.part(b.y, i).size()), layer_rows[i] * layer_width);
      expect_near(
          b.part(b.y, i),
          test::reference_expert_rows(b.shard.function(id).shape(), b.shard.parameters(id),
                                      in_double(std::span<const T>(b.shard.values(id))), in_double(b.part(b.x, i)),
                                      {b.base, in_double(std::span<const T>(b.shard.base_values()))}),
          tolerance);
      const WholeBackward<T> whole(b, i);
      expect_near(b.part(b.dx, i), whole.dx, tolerance);
      expect_near(std::span<const T>(b.shard.gradient(id)), whole.gradient, tolerance);
      if (b.base.size() > 0) expect_near(std::span<const T>(b.base_terms[i]), whole.base_term, tolerance);
    }
  }
}

// Outputs, input gradients and weight gradients of each expert.
template <class T>
void expect_same_experts(Bench<T>& a, std::size_t i, Bench<T>& b, std::size_t j) {
  EXPECT_TRUE(same_bits(a.part(a.y, i), b.part(b.y, j)));
  EXPECT_TRUE(same_bits(a.part(a.dx, i), b.part(b.dx, j)));
  EXPECT_TRUE(same_bits<T>(a.shard.gradient(a.local(i)), b.shard.gradient(b.local(j))));
  ASSERT_EQ(a.base_terms.empty(), b.base_terms.empty());
  EXPECT_TRUE(a.base_terms.empty() || same_bits<T>(a.base_terms[i], b.base_terms[j]));
}

TYPED_TEST(ExpertShardTest, TheBitsOfAnExpertDoNotDependOnTheOthers) {
  for (const auto& shapes : layers()) {
    Bench<TypeParam> whole(shapes, all_experts);
    whole.run(layer_rows);
    for (std::size_t e = 0; e < all_experts.size(); ++e) {
      SCOPED_TRACE(fmt::format("expert {}", e));
      const auto number = static_cast<Index>(e);
      Bench<TypeParam> alone(shapes, {number});
      alone.run({layer_rows[e]});
      expect_same_experts(alone, 0, whole, e);
      const Index other = (number + 2) % 7;
      Bench<TypeParam> behind(shapes, {other, number});
      behind.run({5, layer_rows[e]});  // others, and another number of rows in front
      expect_same_experts(behind, 1, whole, e);
    }
  }
}

TYPED_TEST(ExpertShardTest, TheBitsDoNotDependOnThreads) {
  for (const auto& shapes : layers()) {
    use_threads(1);
    Bench<TypeParam> one(shapes, all_experts);
    one.run(layer_rows);
    use_threads(3);
    Bench<TypeParam> three(shapes, all_experts);
    three.run(layer_rows);
    for (std::size_t e = 0; e < all_experts.size(); ++e) expect_same_experts(one, e, three, e);
  }
}

TYPED_TEST(ExpertShardTest, PartsOfItOneAfterAnotherGiveTheSameBits) {
  for (const auto& shapes : layers()) {
    Bench<TypeParam> whole(shapes, all_experts);
    whole.run(layer_rows, 1);
    for (const Index waves : {2, 3, 7, 9}) {  // nine: some are empty
      Bench<TypeParam> parts(shapes, all_experts);
      parts.run(layer_rows, 1, waves);
      for (std::size_t e = 0; e < all_experts.size(); ++e) expect_same_experts(whole, e, parts, e);
    }
  }
}

TYPED_TEST(ExpertShardTest, AUsedShardGivesTheSameBits) {
  for (const auto& shapes : layers()) {
    Bench<TypeParam> fresh(shapes, all_experts);
    fresh.run(layer_rows, 1);
    Bench<TypeParam> used(shapes, all_experts);
    used.run({700, 2, 40, 0, 9, 1500, 3}, 2);
    used.run({0, 0, 0, 0, 0, 0, 0}, 3);
    used.shard.clear_gradients();
    used.run(layer_rows, 1);
    for (std::size_t e = 0; e < all_experts.size(); ++e) expect_same_experts(fresh, e, used, e);
  }
}

// An objective's gradient with respect to one expert's weights and rows.
TEST(ExpertShardGradientTest, IsTheGradient) {
  make_blas_single_threaded();
  const std::vector<Index> rows = {4, 3, 2, 5, 0, 1, 3};
  Bench<double> b(layer_shapes(true, 6), all_experts);
  b.run(rows);
  for (std::size_t i = 0; i < all_experts.size(); ++i) {
    if (rows[i] == 0) continue;
    SCOPED_TRACE(fmt::format("expert {}", i));
    const auto id = b.local(i);
    const auto objective = [&](std::span<const double> values, std::span<const double> x) {
      return test::weighted_sum(b.part(b.dy, i), test::reference_expert_rows(b.shard.function(id).shape(),
                                                                             b.shard.parameters(id), values, x));
    };
    // Of one row's hidden units a few may be off (relu, or a gelu far below zero).
    test::expect_gradient([&](std::span<const double> v) { return objective(v, b.part(b.x, i)); }, b.shard.values(id),
                          b.shard.gradient(id));
    test::expect_gradient([&](std::span<const double> x) { return objective(b.shard.values(id), x); }, b.part(b.x, i),
                          b.part(b.dx, i));
  }
}

TYPED_TEST(ExpertShardTest, GradientsAddUpUntilTheyAreCleared) {
  using T = TypeParam;
  const double tolerance = std::is_same_v<T, float> ? 1e-3 : 1e-11;
  const auto shapes = layer_shapes(true);
  const std::vector<Index> rows_0 = {3, 1100, 0, 17, 0, 1, 600};
  const std::vector<Index> rows_1 = {0, 5, 8, 520, 0, 2, 0};
  Bench<T> first(shapes, all_experts), second(shapes, all_experts), both(shapes, all_experts);
  first.run(rows_0, 1);
  second.run(rows_1, 2);
  both.run(rows_0, 1);
  both.run(rows_1, 2);
  Index num_nonzero = 0;
  for (std::size_t e = 0; e < all_experts.size(); ++e) {
    const auto id = both.local(e);
    const auto sum = both.shard.gradient(id);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      const double expected = static_cast<double>(first.shard.gradient(id)[i]) + second.shard.gradient(id)[i];
      ASSERT_NEAR(sum[i], expected, tolerance) << "expert " << e << ", element " << i;
      num_nonzero += std::abs(expected) > 10.0 * tolerance ? 1 : 0;
    }
  }
  EXPECT_GT(num_nonzero, 500);

  both.shard.clear_gradients();
  both.run(rows_1, 2);
  for (std::size_t e = 0; e < all_experts.size(); ++e) {
    EXPECT_TRUE(same_bits<T>(both.shard.gradient(both.local(e)), second.shard.gradient(both.local(e)))) << e;
  }
}

TYPED_TEST(ExpertShardTest, WithoutRowsTheClearedGradientIsZero) {
  using T = TypeParam;
  const auto is_zero = [](std::span<const T> values) {
    return std::all_of(values.begin(), values.end(), [](T v) { return v == T{0}; });
  };
  Bench<T> b(layer_shapes(true), all_experts);
  b.run({4, 4, 4, 4, 4, 4, 4}, 1);
  for (std::size_t e = 0; e < all_experts.size(); ++e) ASSERT_FALSE(is_zero(b.shard.gradient(b.local(e)))) << e;
  b.shard.clear_gradients();
  b.run({0, 4, 0, 4, 0, 4, 0}, 1);
  for (std::size_t e = 0; e < all_experts.size(); ++e) {
    EXPECT_EQ(is_zero(b.shard.gradient(b.local(e))), e % 2 == 0) << e;
  }
  b.shard.clear_gradients();
  b.run({0, 0, 0, 0, 0, 0, 0}, 1);
  for (std::size_t e = 0; e < all_experts.size(); ++e) EXPECT_TRUE(is_zero(b.shard.gradient(b.local(e)))) << e;
}

TYPED_TEST(ExpertShardTest, AShardMayHoldNoExpert) {
  Bench<TypeParam> b(layer_shapes(true), {});
  EXPECT_EQ(b.shard.num_experts(), 0);
  b.run({});
  EXPECT_TRUE(b.y.empty());
}

// The deltas' A begins as zero: all experts are the base, and differ from the first update on.
TYPED_TEST(ExpertShardTest, ExpertsThatShareABaseBeginAsThatBase) {
  using T = TypeParam;
  const std::vector<ExpertShape> shapes = shared_layer(false);
  Bench<T> b(shapes, {2, 5});
  ParameterList list;
  const FeedForward<T> plain(list, "", {ExpertKind::swiglu, layer_width, 36, false}, 1.0);
  for (std::size_t i = 0; i < 2; ++i) {
    const ParameterList& own = b.shard.parameters(b.local(i));
    initialise<T>(own, {0, own.size()}, 3, b.shard.values(b.local(i)));
  }
  EXPECT_FALSE(same_bits<T>(b.shard.values(LocalExpertId{0}), b.shard.values(LocalExpertId{1})));
  b.run({9, 9});
  std::vector<T> y(b.part(b.x, 1).size());
  Matrix<T> tapes[3];
  for (Matrix<T>& tape : tapes) tape.resize(9, 36);
  plain.forward({ParameterView<const T>(b.shard.base_values())}, as_matrix<const T>(b.part(b.x, 1), 9, layer_width),
                {tapes[0].view(), tapes[1].view(), tapes[2].view()}, as_matrix<T>(y, 9, layer_width));
  EXPECT_TRUE(same_bits<T>(b.part(b.y, 1), y));
}

TYPED_TEST(ExpertShardTest, RefusesRowsThatDoNotFitAndExpertsThatDoNotExist) {
  using T = TypeParam;
  Bench<T> b(layer_shapes(false), {1, 3});
  std::vector<T> x(5 * layer_width), y(5 * layer_width);
  const auto forward = [&](const std::vector<Index>& rows, Index x_rows, Index y_rows) {
    b.shard.begin(rows);
    b.shard.forward({0, b.shard.num_experts()}, as_matrix<const T>(x, 5, layer_width).row_block(0, x_rows),
                    as_matrix<T>(y, 5, layer_width).row_block(0, y_rows));
  };
  EXPECT_NO_THROW(forward({2, 3}, 5, 5));
  EXPECT_THROW(forward({5}, 5, 5), InvariantError);
  EXPECT_THROW(forward({1, 1, 3}, 5, 5), InvariantError);
  EXPECT_THROW(forward({2, 2}, 5, 5), InvariantError);
  EXPECT_THROW(forward({2, 2}, 4, 5), InvariantError);
  EXPECT_THROW((ExpertShard<T>(layer_shapes(false), {{ExpertId{7}}}, "", 1.0)), InvariantError);
  EXPECT_THROW((ExpertShard<T>(layer_shapes(false), {{ExpertId{-1}}}, "", 1.0)), InvariantError);
}

TYPED_TEST(ExpertShardTest, NamesTensorsByTheGlobalNumber) {
  const auto shapes = layer_shapes(true);
  Bench<TypeParam> b(shapes, {1, 6});
  for (std::size_t i = 0; i < 2; ++i) {
    const ParameterList& mine = b.shard.parameters(b.local(i));
    const ParameterList described = expert_parameters(shapes, "layer/expert/", b.shard.global(b.local(i)));
    EXPECT_EQ(static_cast<Index>(b.shard.values(b.local(i)).size()), mine.size());
    ASSERT_EQ(mine.entries().size(), described.entries().size());
    for (std::size_t n = 0; n < mine.entries().size(); ++n) {
      EXPECT_EQ(mine.entries()[n].name, described.entries()[n].name);
      EXPECT_EQ(mine.entries()[n].shape, described.entries()[n].shape);
      EXPECT_EQ(mine.entries()[n].tensor.offset, described.entries()[n].tensor.offset);
    }
  }
  EXPECT_EQ(b.shard.parameters(LocalExpertId{0}).entries().front().name, "layer/expert/0001/w1");
  EXPECT_EQ(b.shard.parameters(LocalExpertId{1}).entries().back().name, "layer/expert/0006/b1");
}

}  // namespace
}  // namespace conclave::experts
