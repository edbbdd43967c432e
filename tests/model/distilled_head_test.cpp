// SPDX-License-Identifier: BSD-3-Clause
// The loss of a student beside its formula in plain loops, and its gradients beside central differences of that.
#include "runtime/model/distilled_head.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

#include <ostream>

namespace conclave::model {
namespace {

using test::random_values;

constexpr Index width = 3;
constexpr double scale = 0.37;

struct Case {
  Index rows, vocab;
  double weight, temperature;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.rows << " rows, " << c.vocab << " words, weight " << c.weight << ", temperature " << c.temperature;
}

/// A student's rows and head, and a teacher's logits; every third row has no target.
template <class T>
struct Setting {
  explicit Setting(const Case& c)
      : of(c),
        x(random_values<T>(c.rows * width, 1)),
        weight(random_values<T>(c.vocab * width, 2, 1.5)),
        teacher(random_values<T>(c.rows * c.vocab, 3, 2.0)) {
    for (Index i = 0; i < c.rows; ++i) {
      targets.push_back(i % 3 == 2 ? no_target : static_cast<std::int32_t>((i * 7919 + c.vocab - 1) % c.vocab));
    }
  }
  [[nodiscard]] HeadRows<T> rows() const {
    return {as_matrix(std::span<const T>(x), of.rows, width), as_matrix(std::span<const T>(weight), of.vocab, width),
            targets};
  }
  [[nodiscard]] SoftTargets<T> soft() const {
    return {as_matrix(std::span<const T>(teacher), of.rows, of.vocab), of.weight, of.temperature};
  }
  Case of;
  std::vector<T> x, weight, teacher;
  std::vector<std::int32_t> targets;
};

std::vector<double> softmax(std::vector<double> z, double temperature) {
  double sum = 0.0;
  for (double& value : z) sum += value = std::exp(value / temperature);
  for (double& value : z) value /= sum;
  return z;
}

// (1 - l) CE + l T^2 KL, row by row.
template <class T>
double loss_by_formula(const Setting<T>& s, std::span<const double> x, std::span<const double> weight) {
  double loss = 0.0;
  for (Index i = 0; i < s.of.rows; ++i) {
    const Index target = s.targets[static_cast<std::size_t>(i)];
    if (target == no_target) continue;
    std::vector<double> z(static_cast<std::size_t>(s.of.vocab));
    std::vector<double> teacher(z.size());
    for (Index v = 0; v < s.of.vocab; ++v) {
      teacher[v] = static_cast<double>(s.teacher[i * s.of.vocab + v]);
      for (Index k = 0; k < width; ++k) z[v] += x[i * width + k] * weight[v * width + k];
    }
    const std::vector<double> p = softmax(teacher, s.of.temperature);
    const std::vector<double> q = softmax(z, s.of.temperature);
    double divergence = 0.0;
    for (std::size_t v = 0; v < p.size(); ++v) divergence += p[v] * (std::log(p[v]) - std::log(q[v]));
    loss -= (1.0 - s.of.weight) * std::log(softmax(z, 1.0)[target]);
    loss += s.of.weight * s.of.temperature * s.of.temperature * divergence;
  }
  return loss;
}

template <class T>
struct Result {
  LossSums loss;
  std::vector<T> dx, d_weight;
};

template <class T>
Result<T> computed(const Setting<T>& s) {
  Result<T> r{{}, std::vector<T>(s.x.size(), T{9}), std::vector<T>(s.weight.size(), T{1})};
  r.loss = distilled_head<T>(
      s.rows(), s.soft(), scale,
      {as_matrix(std::span(r.dx), s.of.rows, width), as_matrix(std::span(r.d_weight), s.of.vocab, width)});
  for (T& value : r.d_weight) value -= T{1};  // it was added to
  return r;
}

template <class T>
std::vector<double> in_float64(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

class DistilledHead : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

// One row; one block; several of them with a remainder; the data alone, both, the teacher alone; cold and warm.
INSTANTIATE_TEST_SUITE_P(Each, DistilledHead,
                         testing::Values(Case{1, 5, 0.3, 2.0}, Case{5, 2, 1.0, 1.0}, Case{8, 11, 0.0, 2.0},
                                         Case{70, 9, 0.25, 4.0}, Case{150, 17, 0.7, 0.5}));

TEST_P(DistilledHead, LossIsTheFormula) {
  const auto expect = [&]<class T>(const Setting<T>& s) {
    const double formula = loss_by_formula(s, in_float64(s.x), in_float64(s.weight));
    EXPECT_GT(formula, 0.1);
    const double tolerance = 300.0 * std::numeric_limits<T>::epsilon() * formula;
    EXPECT_NEAR(computed(s).loss.nats, formula, tolerance);
  };
  expect(Setting<double>(GetParam()));
  expect(Setting<float>(GetParam()));
}

TEST_P(DistilledHead, GradientsAreThoseOfTheFormula) {
  const Setting<double> s(GetParam());
  const Result<double> r = computed(s);
  test::expect_gradient([&](std::span<const double> x) { return scale * loss_by_formula(s, x, s.weight); }, s.x, r.dx);
  test::expect_gradient([&](std::span<const double> weight) { return scale * loss_by_formula(s, s.x, weight); },
                        s.weight, r.d_weight);
  const Result<float> narrow = computed(Setting<float>(GetParam()));
  for (std::size_t i = 0; i < r.dx.size(); ++i) EXPECT_NEAR(narrow.dx[i], r.dx[i], 2e-5) << i;
}

TEST_P(DistilledHead, GradientsCanBeHadOneAtATime) {
  const Setting<float> s(GetParam());
  const Result<float> r = computed(s);
  std::vector<float> dx(s.x.size());
  std::vector<float> d_weight(s.weight.size(), 1.0F);
  const MatrixView<float> dx_alone = as_matrix(std::span(dx), s.of.rows, width);
  EXPECT_EQ(distilled_head<float>(s.rows(), s.soft(), scale, {dx_alone, {}}).nats, r.loss.nats);
  distilled_head<float>(s.rows(), s.soft(), scale, {{}, as_matrix(std::span(d_weight), s.of.vocab, width)});
  for (float& value : d_weight) value -= 1.0F;
  EXPECT_EQ(dx, r.dx);
  EXPECT_EQ(d_weight, r.d_weight);
}

TEST(DistilledHeadRows, TheDataAloneIsTheHeadsLoss) {
  make_blas_single_threaded();
  const Setting<double> s({70, 9, 0.0, 3.0});
  const Result<double> r = computed(s);
  std::vector<double> log_sums(s.targets.size());
  std::vector<double> dx(s.x.size());
  const LossSums loss = head_loss_and_gradients<double>(s.rows(), scale, std::span(log_sums),
                                                        {as_matrix(std::span(dx), s.of.rows, width), {}});
  EXPECT_NEAR(r.loss.nats, loss.nats, 1e-12 * loss.nats);
  EXPECT_EQ(r.loss.correct, loss.correct);
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(r.dx[i], dx[i], 1e-14) << i;
}

TEST(DistilledHeadRows, ATeacherThatIsTheStudentHasNothingToSay) {
  make_blas_single_threaded();
  Setting<double> s({6, 11, 1.0, 2.0});
  const ConstMatrixView<double> x = s.rows().x;
  gemm_nt<double>(x, s.rows().weight, 0.0, as_matrix(std::span(s.teacher), s.of.rows, s.of.vocab));
  const Result<double> r = computed(s);
  EXPECT_NEAR(r.loss.nats, 0.0, 1e-14);
  for (const double value : r.dx) EXPECT_NEAR(value, 0.0, 1e-15);
  s.teacher[4] += 1.0;
  EXPECT_GT(computed(s).loss.nats, 1e-3);
}

TEST(DistilledHeadRows, HugeLogitsStayFiniteAndForeignShapesAreRefused) {
  make_blas_single_threaded();
  Setting<float> s({5, 20, 0.5, 2.0});
  for (float& w : s.weight) w *= 1e4F;
  for (float& z : s.teacher) z *= 1e4F;
  const Result<float> r = computed(s);
  EXPECT_TRUE(std::isfinite(r.loss.nats));
  for (const float value : r.dx) EXPECT_TRUE(std::isfinite(value));
  SoftTargets<float> soft = s.soft();
  soft.logits = soft.logits.row_block(0, 4);
  EXPECT_THROW(distilled_head<float>(s.rows(), soft, scale, {}), InvariantError);
  s.targets[1] = 20;
  EXPECT_THROW(distilled_head<float>(s.rows(), s.soft(), scale, {}), InvariantError);
  const HeadRows<float> none{{nullptr, 0, width, width}, s.rows().weight, {}};
  EXPECT_EQ(distilled_head<float>(none, s.soft().of({0, 0}), scale, {}).nats, 0.0);
}

}  // namespace
}  // namespace conclave::model
