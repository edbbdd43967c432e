// SPDX-License-Identifier: BSD-3-Clause
// Activations and their derivatives against plain formulas in float64, and their bits.
#include "runtime/core/activations.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "tests/core/arguments.hpp"
#include "tests/support/gradient_check.hpp"

namespace conclave {
namespace {

using test::arguments;
using test::logistic;

// The value and the derivatives of an activation, as a kernel gives them.
template <class T>
struct Activated {
  std::vector<T> y, by_a, by_b;
};

// An activation of a + bias and, for swiglu, of b + bias.
template <class T>
struct Kernel {
  const char* name;
  std::function<void(std::span<const T> bias, std::span<T> a, std::span<T> b, std::span<T> y)> run;
};

template <class T>
std::vector<Kernel<T>> kernels() {
  using In = std::span<const T>;
  using Out = std::span<T>;
  return {{"relu", [](In bias, Out a, Out, Out y) { relu<T>(bias, a, y); }},
          {"gelu", [](In bias, Out a, Out, Out y) { gelu<T>(bias, a, y); }},
          {"swiglu", [](In bias, Out a, Out b, Out y) { swiglu<T>(bias, bias, a, b, y); }}};
}

template <class T>
Activated<T> activated(const Kernel<T>& kernel, const std::vector<T>& a, const std::vector<T>& b,
                       const std::vector<T>& bias = {}) {
  Activated<T> result{std::vector<T>(a.size()), a, b};
  kernel.run(bias, result.by_a, result.by_b, result.y);
  return result;
}

template <class T>
std::vector<T> random_values(Index count, Index what) {
  return test::random_values<T>(count, what, 2.0);
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi); }

// {y, dy/da, dy/db}
struct Expected {
  double y, by_a, by_b;
};
Expected expected(const std::string& name, double a, double b) {
  if (name == "relu") return {a > 0.0 ? a : 0.0, a > 0.0 ? 1.0 : 0.0, b};
  if (name == "gelu") return {a * normal_cdf(a), normal_cdf(a) + a * normal_density(a), b};
  const double sigma = logistic(a);
  return {a * sigma * b, b * sigma * (1.0 + a * (1.0 - sigma)), a * sigma};
}

template <class T>
class Activations : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Activations, Types);

TYPED_TEST(Activations, ValuesAndDerivativesFollowTheirFormulas) {
  using T = TypeParam;
  const auto a = arguments<T>();
  const auto b = random_values<T>(static_cast<Index>(a.size()), 1);
  ASSERT_GT(a.size(), 1000U);
  constexpr double eps = std::numeric_limits<T>::epsilon();
  for (const Kernel<T>& kernel : kernels<T>()) {
    const Activated<T> is = activated(kernel, a, b);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const Expected right = expected(kernel.name, a[i], b[i]);
      const double tolerance = 40.0 * eps * std::max(1.0, std::abs(static_cast<double>(a[i]))) *
                               std::max(1.0, std::abs(static_cast<double>(b[i])));
      EXPECT_NEAR(is.y[i], right.y, tolerance) << kernel.name << " of " << a[i];
      EXPECT_NEAR(is.by_a[i], right.by_a, tolerance) << kernel.name << "' at " << a[i];
      EXPECT_NEAR(is.by_b[i], right.by_b, tolerance) << kernel.name << " by b at " << a[i];
    }
  }
}

// x Phi(x) far below zero is small, but not without digits.
TYPED_TEST(Activations, GeluKeepsItsDigitsBelowZero) {
  using T = TypeParam;
  std::vector<T> a;
  for (double v = -12.0; v < 0.0; v += 0.0137) a.push_back(static_cast<T>(v));
  const Activated<T> is = activated(kernels<T>()[1], a, a);
  // v^2 / 2, up to 72, is rounded before its exponential is taken. In double xsimd's erfc is the limit.
  const double tolerance = std::is_same_v<T, float> ? 100.0 * std::numeric_limits<float>::epsilon() : 1e-11;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double right = expected("gelu", a[i], 0.0).y;
    EXPECT_NEAR(is.y[i] / right, 1.0, tolerance) << a[i];
  }
}

TYPED_TEST(Activations, ABiasIsAddedToTheArguments) {
  using T = TypeParam;
  const auto a = random_values<T>(45, 2);
  const auto b = random_values<T>(45, 3);
  const auto bias = random_values<T>(45, 4);
  const auto shifted = [&](std::vector<T> v) {
    for (std::size_t i = 0; i < v.size(); ++i) v[i] += bias[i];
    return v;
  };
  for (const Kernel<T>& kernel : kernels<T>()) {
    const Activated<T> with = activated(kernel, a, b, bias);
    const Activated<T> without = activated(kernel, shifted(a), shifted(b));
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_NEAR(with.y[i], without.y[i], 16.0 * std::numeric_limits<T>::epsilon()) << kernel.name;
      EXPECT_NEAR(with.by_a[i], without.by_a[i], 16.0 * std::numeric_limits<T>::epsilon()) << kernel.name;
    }
  }
}

TYPED_TEST(Activations, ExtremeArgumentsStayDefined) {
  using T = TypeParam;
  const T large = T(1e30);
  const std::vector<T> a{T(1000), T(-1000), large, -large};
  const std::vector<T> ones(a.size(), T(1));
  for (const Kernel<T>& kernel : kernels<T>()) {
    const Activated<T> is = activated(kernel, a, ones);
    EXPECT_EQ(is.y, (std::vector<T>{1000, 0, large, 0})) << kernel.name;
    EXPECT_EQ(is.by_a, (std::vector<T>{1, 0, 1, 0})) << kernel.name;
    const std::vector<T> not_numbers(3, std::numeric_limits<T>::quiet_NaN());
    for (const T value : activated(kernel, not_numbers, not_numbers).y) {
      EXPECT_TRUE(std::isnan(value)) << "a defect upstream must not be hidden by " << kernel.name;
    }
  }
}

TYPED_TEST(Activations, AnElementDoesNotDependOnItsPlace) {
  using T = TypeParam;
  constexpr Index count = 70;
  const auto a = random_values<T>(count, 5);
  const auto b = random_values<T>(count, 6);
  const auto same_bits = [](T x, T y) { return std::memcmp(&x, &y, sizeof x) == 0; };
  for (const Kernel<T>& kernel : kernels<T>()) {
    for (const bool with_bias : {false, true}) {
      for (Index begin = 0; begin < count; ++begin) {
        const auto from = [&](const std::vector<T>& v) { return std::vector<T>(v.begin() + begin, v.end()); };
        const auto first = [&](const std::vector<T>& v) { return std::vector<T>{v[static_cast<std::size_t>(begin)]}; };
        const Activated<T> all = activated(kernel, from(a), from(b), with_bias ? from(b) : std::vector<T>{});
        const Activated<T> one = activated(kernel, first(a), first(b), with_bias ? first(b) : std::vector<T>{});
        EXPECT_TRUE(same_bits(all.y[0], one.y[0])) << kernel.name << " " << begin;
        EXPECT_TRUE(same_bits(all.by_a[0], one.by_a[0])) << kernel.name << " " << begin;
        EXPECT_TRUE(same_bits(all.by_b[0], one.by_b[0])) << kernel.name << " " << begin;
      }
    }
  }
}

TYPED_TEST(Activations, LengthsThatDifferAreADefect) {
  using T = TypeParam;
  std::vector<T> three(3), four(4);
  EXPECT_THROW(relu<T>({}, three, four), InvariantError);
  EXPECT_THROW(gelu<T>(four, three, three), InvariantError);
  EXPECT_THROW(swiglu<T>(three, {}, three, three, three), InvariantError);
  EXPECT_THROW(swiglu<T>({}, {}, three, four, three), InvariantError);
}

}  // namespace
}  // namespace conclave
