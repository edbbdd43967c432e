// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/activations.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/simd.hpp"

#include <numbers>

namespace conclave {
namespace {

using namespace simd;

// Phi(-z) for z >= 0, given exp(-z^2 / 2): no difference of nearly equal numbers, so that it keeps its digits far out.
Vec<double> upper_tail(Vec<double> z, Vec<double>) { return 0.5 * xsimd::erfc(z * (1.0 / std::numbers::sqrt2)); }

// Phi(-z) = exp(-z^2 / 2) erfcx(z / sqrt 2) / 2, with the scaled complementary error function as t P(t),
// t = 1 / (1 + 0.3 z / sqrt 2): P is the Chebyshev fit of degree 8 over all z for which the result is no denormal, off
// by 2.4e-8 of the result at most.
Vec<float> upper_tail(Vec<float> z, Vec<float> exponential) {
  constexpr std::array<float, 9> p{-0.06527998817F, 0.2454523622F,  -0.2620090445F, 0.2810350817F, -0.05264813867F,
                                   0.109911573F,    0.07348890761F, 0.08546198489F, 0.08458725188F};
  const Vec<float> t = 1.0F / xsimd::fma(Vec<float>(0.212132034F), z, Vec<float>(1.0F));
  Vec<float> sum(p[0]);
  for (std::size_t i = 1; i < p.size(); ++i) sum = xsimd::fma(sum, t, Vec<float>(p[i]));
  return sum * t * exponential;
}

// {gelu(v), its derivative}
template <class T>
Vecs<T, 2> gelu_of(Vec<T> v) {
  // Beyond this both are 0 or v and 1, and v^2 could overflow.
  const Vec<T> z = xsimd::min(xsimd::abs(v), Vec<T>(T(40)));
  const Vec<T> exponential = xsimd::exp(T(-0.5) * z * z);
  const Vec<T> tail = upper_tail(z, exponential);
  const Vec<T> cdf = xsimd::select(v < Vec<T>(T(0)), tail, T(1) - tail);
  const Vec<T> density = T(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * exponential;
  return {v * cdf, xsimd::fma(xsimd::copysign(z, v), density, cdf)};
}

template <class T>
Vecs<T, 2> relu_of(Vec<T> v) {
  const Vec<T> zero(T(0));
  // In this form a NaN stays a NaN.
  return {xsimd::select(v < zero, zero, v), xsimd::select(v > zero, Vec<T>(T(1)), zero)};
}

// {silu(u) v, by u, by v}
template <class T>
Vecs<T, 3> swiglu_of(Vec<T> u, Vec<T> v) {
  const Vec<T> sigma = logistic<T>(u);
  const Vec<T> silu = u * sigma;
  return {silu * v, v * sigma * (T(1) + u * (T(1) - sigma)), silu};
}

template <class T, class Function>
void activate(std::span<const T> bias, std::span<T> x, std::span<T> y, const Function& function) {
  invariant((bias.empty() || bias.size() == x.size()) && x.size() == y.size(),
            "an activation of {} elements with a bias of {} to {}", x.size(), bias.size(), y.size());
  if (bias.empty()) {
    map<T, 1, 2>(length(y), {x.data()}, {y.data(), x.data()}, [&](const Vecs<T, 1>& in) { return function(in[0]); });
  } else {
    map<T, 2, 2>(length(y), {x.data(), bias.data()}, {y.data(), x.data()},
                 [&](const Vecs<T, 2>& in) { return function(in[0] + in[1]); });
  }
}

}  // namespace

template <class T>
void relu(std::span<const T> bias, std::span<T> x, std::span<T> y) {
  activate<T>(bias, x, y, [](Vec<T> v) { return relu_of<T>(v); });
}

template <class T>
void gelu(std::span<const T> bias, std::span<T> x, std::span<T> y) {
  activate<T>(bias, x, y, [](Vec<T> v) { return gelu_of<T>(v); });
}

template <class T>
void swiglu(std::span<const T> bias_a, std::span<const T> bias_b, std::span<T> a, std::span<T> b, std::span<T> y) {
  invariant(a.size() == b.size() && a.size() == y.size() && bias_a.size() == bias_b.size() &&
                (bias_a.empty() || bias_a.size() == a.size()),
            "swiglu of {} and {} elements with biases of {} and {} to {}", a.size(), b.size(), bias_a.size(),
            bias_b.size(), y.size());
  if (bias_a.empty()) {
    map<T, 2, 3>(length(y), {a.data(), b.data()}, {y.data(), a.data(), b.data()},
                 [](const Vecs<T, 2>& in) { return swiglu_of<T>(in[0], in[1]); });
  } else {
    map<T, 4, 3>(length(y), {a.data(), b.data(), bias_a.data(), bias_b.data()}, {y.data(), a.data(), b.data()},
                 [](const Vecs<T, 4>& in) { return swiglu_of<T>(in[0] + in[2], in[1] + in[3]); });
  }
}

#define CONCLAVE_INSTANTIATE(T)                                       \
  template void relu(std::span<const T>, std::span<T>, std::span<T>); \
  template void gelu(std::span<const T>, std::span<T>, std::span<T>); \
  template void swiglu(std::span<const T>, std::span<const T>, std::span<T>, std::span<T>, std::span<T>)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave
