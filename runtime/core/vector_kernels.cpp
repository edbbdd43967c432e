// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/vector_kernels.hpp"

#include "runtime/core/simd.hpp"

#include <cmath>
#include <limits>

namespace conclave {
namespace {

using namespace simd;

}  // namespace

template <class T>
void add_bias(std::span<const T> bias, MatrixView<T> y) {
  invariant(length(bias) == y.cols, "a bias of {} for {} columns", bias.size(), y.cols);
  for (Index i = 0; i < y.rows; ++i) axpy<T>(T(1), bias, y.row(i));
}

template <class T>
void add_column_sums(ConstMatrixView<T> dy, std::span<T> db) {
  invariant(length(db) == dy.cols, "{} sums of {} columns", db.size(), dy.cols);
  constexpr std::size_t width = 8;  // vectors that go down the rows together
  Index j = 0;
  for (; j + static_cast<Index>(width) * lanes<T> <= dy.cols; j += static_cast<Index>(width) * lanes<T>) {
    Vecs<T, width> sums;
    sums.fill(Vec<T>(T(0)));
    for (Index i = 0; i < dy.rows; ++i) {
      const T* row = dy.data + i * dy.ld + j;
      for (std::size_t k = 0; k < width; ++k) sums[k] += Vec<T>::load_unaligned(row + static_cast<Index>(k) * lanes<T>);
    }
    for (std::size_t k = 0; k < width; ++k) {
      T* place = db.data() + j + static_cast<Index>(k) * lanes<T>;
      (Vec<T>::load_unaligned(place) + sums[k]).store_unaligned(place);
    }
  }
  // The columns that are left, in the same order of additions.
  std::array<T, width* static_cast<std::size_t>(lanes<T>)> sums{};
  for (Index i = 0; i < dy.rows; ++i) {
    const T* row = dy.data + i * dy.ld;
    for (Index k = j; k < dy.cols; ++k) sums[static_cast<std::size_t>(k - j)] += row[k];
  }
  for (Index k = j; k < dy.cols; ++k) db[static_cast<std::size_t>(k)] += sums[static_cast<std::size_t>(k - j)];
}

template <class T>
void axpy(T alpha, std::span<const T> x, std::span<T> y) {
  invariant(x.size() == y.size(), "axpy of {} and {} elements", x.size(), y.size());
  map<T, 2, 1>(length(x), {x.data(), y.data()}, {y.data()},
               [a = Vec<T>(alpha)](const Vecs<T, 2>& in) { return Vecs<T, 1>{xsimd::fma(a, in[0], in[1])}; });
}

template <class T>
void scaled_copy(T alpha, std::span<const T> x, std::span<T> y) {
  invariant(x.size() == y.size(), "scaled_copy of {} to {} elements", x.size(), y.size());
  map<T, 1, 1>(length(x), {x.data()}, {y.data()},
               [a = Vec<T>(alpha)](const Vecs<T, 1>& in) { return Vecs<T, 1>{a * in[0]}; });
}

template <class T>
void product(std::span<const T> x, std::span<const T> y, std::span<T> z) {
  invariant(x.size() == y.size() && x.size() == z.size(), "product of {} and {} to {} elements", x.size(), y.size(),
            z.size());
  map<T, 2, 1>(length(x), {x.data(), y.data()}, {z.data()},
               [](const Vecs<T, 2>& in) { return Vecs<T, 1>{in[0] * in[1]}; });
}

template <class T>
T dot(std::span<const T> x, std::span<const T> y) {
  invariant(x.size() == y.size(), "dot of {} and {} elements", x.size(), y.size());
  const auto sums = accumulate<T, 2>(length(x), {x.data(), y.data()}, T(0), T(0),
                                     [](Vec<T> sum, const auto& in) { return xsimd::fma(in[0], in[1], sum); });
  return fold<T>(sums, sum_of);
}

template <class T>
double sum_of_squares(std::span<const T> x) {
  // Plain lanes: compilers widen float to double better than xsimd does.
  constexpr Index width = 32;
  std::array<double, width> sums{};
  const Index count = length(x);
  Index i = 0;
  for (; i + width <= count; i += width) {
    for (Index k = 0; k < width; ++k) {
      const double value = x[static_cast<std::size_t>(i + k)];
      sums[k] += value * value;
    }
  }
  for (Index k = 0; i + k < count; ++k) {
    const double value = x[static_cast<std::size_t>(i + k)];
    sums[k] += value * value;
  }
  for (Index half = width / 2; half > 0; half /= 2) {
    for (Index k = 0; k < half; ++k) sums[k] += sums[k + half];
  }
  return sums[0];
}

template <class T>
void softmax_rows(ConstMatrixView<T> z, MatrixView<T> p, std::span<T> log_sums) {
  invariant(z.rows == p.rows && z.cols == p.cols && (log_sums.empty() || length(log_sums) == z.rows),
            "softmax_rows of {} x {} to {} x {} and {} sums", z.rows, z.cols, p.rows, p.cols, log_sums.size());
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  for (Index i = 0; i < z.rows; ++i) {
    const T* in = z.data + i * z.ld;
    const std::span<T> out = p.row(i);
    const auto maxima = accumulate<T, 1>(z.cols, {in}, lowest, lowest,
                                         [](Vec<T> best, const auto& values) { return max_of(best, values[0]); });
    const T largest = fold<T>(maxima, max_of);
    map<T, 1, 1>(z.cols, {in}, {out.data()}, [shift = Vec<T>(largest)](const Vecs<T, 1>& values) {
      return Vecs<T, 1>{xsimd::exp(values[0] - shift)};
    });
    const auto sums = accumulate<T, 1>(z.cols, {out.data()}, T(0), T(0),
                                       [](Vec<T> sum, const auto& values) { return sum + values[0]; });
    const T sum = fold<T>(sums, sum_of);
    map<T, 1, 1>(z.cols, {out.data()}, {out.data()},
                 [divisor = Vec<T>(sum)](const Vecs<T, 1>& values) { return Vecs<T, 1>{values[0] / divisor}; });
    if (!log_sums.empty()) log_sums[static_cast<std::size_t>(i)] = largest + std::log(sum);
  }
}

template <class T>
void softmax_rows_backward(ConstMatrixView<T> p, ConstMatrixView<T> dp, MatrixView<T> dz) {
  invariant(p.rows == dp.rows && p.cols == dp.cols && p.rows == dz.rows && p.cols == dz.cols,
            "softmax_rows_backward of {} x {}, {} x {} to {} x {}", p.rows, p.cols, dp.rows, dp.cols, dz.rows, dz.cols);
  for (Index i = 0; i < p.rows; ++i) {
    double mass = 0.0;  // 1, but for the rounding of p
    double mean = 0.0;
    for (Index j = 0; j < p.cols; ++j) {
      mass += static_cast<double>(p(i, j));
      mean += static_cast<double>(p(i, j)) * static_cast<double>(dp(i, j));
    }
    for (Index j = 0; j < p.cols; ++j) {
      const double centred = static_cast<double>(dp(i, j)) * mass - mean;  // sum_l p_l (dp_j - dp_l)
      dz(i, j) += static_cast<T>(static_cast<double>(p(i, j)) * centred);
    }
  }
}

template <class T>
void sigmoid(std::span<const T> x, std::span<T> y) {
  invariant(x.size() == y.size(), "sigmoid of {} to {} elements", x.size(), y.size());
  map<T, 1, 1>(length(x), {x.data()}, {y.data()}, [](const Vecs<T, 1>& in) { return Vecs<T, 1>{logistic<T>(in[0])}; });
}

template <class T>
void exp_shifted(T shift, std::span<T> x) {
  map<T, 1, 1>(length(x), {x.data()}, {x.data()},
               [s = Vec<T>(shift)](const Vecs<T, 1>& in) { return Vecs<T, 1>{xsimd::exp(in[0] - s)}; });
}

#define CONCLAVE_INSTANTIATE(T)                                                               \
  template void add_bias(std::span<const T>, MatrixView<T>);                                  \
  template void add_column_sums(ConstMatrixView<T>, std::span<T>);                            \
  template void axpy(T, std::span<const T>, std::span<T>);                                    \
  template void scaled_copy(T, std::span<const T>, std::span<T>);                             \
  template void product(std::span<const T>, std::span<const T>, std::span<T>);                \
  template T dot(std::span<const T>, std::span<const T>);                                     \
  template double sum_of_squares(std::span<const T>);                                         \
  template void softmax_rows(ConstMatrixView<T>, MatrixView<T>, std::span<T>);                \
  template void softmax_rows_backward(ConstMatrixView<T>, ConstMatrixView<T>, MatrixView<T>); \
  template void sigmoid(std::span<const T>, std::span<T>);                                    \
  template void exp_shifted(T, std::span<T>)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave
