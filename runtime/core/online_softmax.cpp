// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/online_softmax.hpp"

#include "runtime/core/simd.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <limits>

namespace conclave {
namespace {

using namespace simd;

template <class T>
constexpr T lowest = -std::numeric_limits<T>::infinity();

Index padded(Index columns, Index to) { return (columns + to - 1) / to * to; }

template <class T>
void check(const SoftmaxBlock<T>& block) {
  const MatrixView<T>& z = block.values;
  invariant(block.first_row_sees > 0 || z.rows == 0, "a softmax over {} columns", block.first_row_sees);
  invariant(z.ld >= padded(z.cols, SoftmaxBlock<T>::row_padding), "rows of {} columns, {} apart, have no padding",
            z.cols, z.ld);
}

// The lanes of a vector that ends `rest` columns after its begin.
template <class T>
auto first_lanes(Index rest) {
  static constexpr auto numbers = [] {
    std::array<T, lanes<T>> values{};
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i);
    return values;
  }();
  return Vec<T>::load_unaligned(numbers.data()) < Vec<T>(static_cast<T>(rest));
}

template <class T, class Function>
T across(Vec<T> v, const Function& function) {
  std::array<T, lanes<T>> values;
  v.store_unaligned(values.data());
  for (std::size_t half = values.size() / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) values[i] = function(values[i], values[i + half]);
  }
  return values[0];
}

template <class T>
T largest_of(const T* z, Index seen) {
  Vec<T> best(lowest<T>);
  Index j = 0;
  for (; j + lanes<T> <= seen; j += lanes<T>) best = max_of(best, Vec<T>::load_unaligned(z + j));
  if (j < seen) {
    best = max_of(best, xsimd::select(first_lanes<T>(seen - j), Vec<T>::load_unaligned(z + j), Vec<T>(lowest<T>)));
  }
  return across<T>(best, max_of);
}

template <class T>
void clear(T* z, Index from, Index to) {
  for (Index j = from; j < to; j += lanes<T>) Vec<T>(T(0)).store_unaligned(z + j);
}

// z = exp(z - shift) up to `seen`, then 0 up to `cols`; the sum of it.
template <class T>
T exponentials(T* z, Index seen, Index cols, T shift) {
  const Vec<T> s(shift);
  Vec<T> sum(T(0));
  Index j = 0;
  for (; j + lanes<T> <= seen; j += lanes<T>) {
    const Vec<T> e = xsimd::exp(Vec<T>::load_unaligned(z + j) - s);
    e.store_unaligned(z + j);
    sum += e;
  }
  if (j < seen) {
    const Vec<T> e =
        xsimd::select(first_lanes<T>(seen - j), xsimd::exp(Vec<T>::load_unaligned(z + j) - s), Vec<T>(T(0)));
    e.store_unaligned(z + j);
    sum += e;
    j += lanes<T>;
  }
  clear(z, j, cols);
  return across<T>(sum, sum_of);
}

template <class T>
T& at(std::span<T> values, Index i) {
  return values[static_cast<std::size_t>(i)];
}

}  // namespace

template <class T>
void softmax_first_block(const SoftmaxBlock<T>& block, const OnlineRows<T>& rows) {
  check(block);
  const MatrixView<T>& z = block.values;
  for (Index i = 0; i < z.rows; ++i) {
    T* const row = z.data + i * z.ld;
    const Index seen = block.seen_by(i);
    const T largest = largest_of<T>(row, seen);
    at(rows.maxima, i) = largest;
    at(rows.sums, i) = exponentials<T>(row, seen, z.cols, largest);
  }
}

template <class T>
void softmax_next_block(const SoftmaxBlock<T>& block, const OnlineRows<T>& rows, MatrixView<T> summed) {
  check(block);
  const MatrixView<T>& z = block.values;
  for (Index i = 0; i < z.rows; ++i) {
    T* const row = z.data + i * z.ld;
    const Index seen = block.seen_by(i);
    const T before = at(rows.maxima, i);
    const T largest = std::max(before, largest_of<T>(row, seen));
    const T sum = exponentials<T>(row, seen, z.cols, largest);
    // Most rows have seen their largest early: for them f is 1 and nothing changes.
    if (largest == before) {
      at(rows.sums, i) += sum;
      continue;
    }
    const T f = std::exp(before - largest);
    at(rows.maxima, i) = largest;
    at(rows.sums, i) = f * at(rows.sums, i) + sum;
    scaled_copy<T>(f, summed.row(i), summed.row(i));
  }
}

template <class T>
void softmax_finish(const OnlineRows<T>& rows, MatrixView<T> summed, std::span<T> log_sums) {
  for (Index i = 0; i < summed.rows; ++i) scaled_copy<T>(T(1) / at(rows.sums, i), summed.row(i), summed.row(i));
  map<T, 2, 1>(length(log_sums), {rows.maxima.data(), rows.sums.data()}, {log_sums.data()},
               [](const Vecs<T, 2>& in) { return Vecs<T, 1>{in[0] + xsimd::log(in[1])}; });
}

template <class T>
void softmax_block_backward(const SoftmaxBlock<T>& block, std::span<const T> log_sums, std::span<const T> means,
                            MatrixView<T> dp) {
  check(block);
  const MatrixView<T>& z = block.values;
  check(SoftmaxBlock<T>{dp, block.first_row_sees});
  invariant(dp.rows == z.rows && dp.cols == z.cols, "gradients [{},{}] of [{},{}] scores", dp.rows, dp.cols, z.rows,
            z.cols);
  for (Index i = 0; i < z.rows; ++i) {
    T* const p = z.data + i * z.ld;
    T* const dz = dp.data + i * dp.ld;
    const Index seen = block.seen_by(i);
    const Vec<T> shift(log_sums[static_cast<std::size_t>(i)]);
    const Vec<T> mean(means[static_cast<std::size_t>(i)]);
    Index j = 0;
    for (; j + lanes<T> <= seen; j += lanes<T>) {
      const Vec<T> e = xsimd::exp(Vec<T>::load_unaligned(p + j) - shift);
      e.store_unaligned(p + j);
      (e * (Vec<T>::load_unaligned(dz + j) - mean)).store_unaligned(dz + j);
    }
    if (j < seen) {
      const auto mask = first_lanes<T>(seen - j);
      const Vec<T> e = xsimd::exp(Vec<T>::load_unaligned(p + j) - shift);
      const Vec<T> gradient = e * (Vec<T>::load_unaligned(dz + j) - mean);
      xsimd::select(mask, e, Vec<T>(T(0))).store_unaligned(p + j);
      xsimd::select(mask, gradient, Vec<T>(T(0))).store_unaligned(dz + j);
      j += lanes<T>;
    }
    clear(p, j, z.cols);
    clear(dz, j, z.cols);
  }
}

template <class T>
void row_products(ConstMatrixView<T> a, ConstMatrixView<T> b, std::span<T> products) {
  for (Index i = 0; i < a.rows; ++i) at(products, i) = dot<T>(a.row(i), b.row(i));
}

#define CONCLAVE_INSTANTIATE(T)                                                                                        \
  template void softmax_first_block(const SoftmaxBlock<T>&, const OnlineRows<T>&);                                     \
  template void softmax_next_block(const SoftmaxBlock<T>&, const OnlineRows<T>&, MatrixView<T>);                       \
  template void softmax_finish(const OnlineRows<T>&, MatrixView<T>, std::span<T>);                                     \
  template void softmax_block_backward(const SoftmaxBlock<T>&, std::span<const T>, std::span<const T>, MatrixView<T>); \
  template void row_products(ConstMatrixView<T>, ConstMatrixView<T>, std::span<T>)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave
