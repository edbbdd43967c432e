// SPDX-License-Identifier: BSD-3-Clause
// What the vector kernels are written with; for their sources alone.
#pragma once

#include "runtime/core/ids.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <xsimd/xsimd.hpp>

namespace conclave::simd {

template <class T>
using Vec = xsimd::batch<T>;

template <class T>
inline constexpr Index lanes = static_cast<Index>(Vec<T>::size);

template <class T, std::size_t N>
using Vecs = std::array<Vec<T>, N>;

// Arrays that are walked side by side.
template <class T, std::size_t N>
using Pointers = std::array<T*, N>;

template <class T, std::size_t N>
Vecs<T, N> load(const Pointers<const T, N>& from, Index i) {
  Vecs<T, N> values;
  for (std::size_t k = 0; k < N; ++k) values[k] = Vec<T>::load_unaligned(from[k] + i);
  return values;
}

// out[0][i], out[1][i], .. = function(in[0][i], in[1][i], ..) for i < count, count being a multiple of the lanes. Not
// inlined: the compiler may fuse multiplications and additions as it likes, but whole vectors and the padded tail must
// run through the very same instructions.
template <class T, std::size_t In, std::size_t Out, class Function>
[[gnu::noinline, gnu::noclone]] void map_whole(Index count, Pointers<const T, In> in, Pointers<T, Out> out,
                                               const Function& function) {
  const Function f = function;  // a copy that no store into `out` can change
  for (Index i = 0; i < count; i += lanes<T>) {
    const Vecs<T, Out> results = f(load<T>(in, i));
    for (std::size_t k = 0; k < Out; ++k) results[k].store_unaligned(out[k] + i);
  }
}

// As map_whole for any count.
template <class T, std::size_t In, std::size_t Out, class Function>
void map(Index count, Pointers<const T, In> in, Pointers<T, Out> out, const Function& function) {
  const Index whole = count - count % lanes<T>;
  if (whole > 0) map_whole<T>(whole, in, out, function);
  if (whole == count) return;
  std::array<std::array<T, lanes<T>>, In> padded_in{};
  std::array<std::array<T, lanes<T>>, Out> padded_out;
  Pointers<const T, In> tail_in;
  Pointers<T, Out> tail_out;
  for (std::size_t k = 0; k < In; ++k) {
    std::copy_n(in[k] + whole, count - whole, padded_in[k].begin());
    tail_in[k] = padded_in[k].data();
  }
  for (std::size_t k = 0; k < Out; ++k) tail_out[k] = padded_out[k].data();
  map_whole<T>(lanes<T>, tail_in, tail_out, function);
  for (std::size_t k = 0; k < Out; ++k) std::copy_n(padded_out[k].begin(), count - whole, out[k] + whole);
}

// A reduction keeps this many vectors, so that one addition need not wait for the one before.
inline constexpr std::size_t num_accumulators = 4;

// Folds function(accumulator, in[0][i], ..) over all i, the last vector padded with `padding`. Vector v goes to
// accumulator v mod num_accumulators, so that the order depends on `count` alone.
template <class T, std::size_t In, class Function>
Vecs<T, num_accumulators> accumulate(Index count, Pointers<const T, In> in, T start, T padding,
                                     const Function& function) {
  Vecs<T, num_accumulators> sums;
  sums.fill(Vec<T>(start));
  constexpr Index stride = lanes<T> * static_cast<Index>(num_accumulators);
  Index i = 0;
  for (; i + stride <= count; i += stride) {
    for (std::size_t a = 0; a < num_accumulators; ++a) {
      sums[a] = function(sums[a], load<T>(in, i + static_cast<Index>(a) * lanes<T>));
    }
  }
  std::size_t a = 0;
  for (; i + lanes<T> <= count; ++a, i += lanes<T>) sums[a] = function(sums[a], load<T>(in, i));
  if (i < count) {
    std::array<std::array<T, lanes<T>>, In> padded;
    Vecs<T, In> values;
    for (std::size_t k = 0; k < In; ++k) {
      padded[k].fill(padding);
      std::copy_n(in[k] + i, count - i, padded[k].begin());
      values[k] = Vec<T>::load_unaligned(padded[k].data());
    }
    sums[a] = function(sums[a], values);
  }
  return sums;
}

// The lanes of all accumulators in one, pairwise.
template <class T, class Function>
T fold(const Vecs<T, num_accumulators>& sums, const Function& function) {
  std::array<T, lanes<T>> values;
  function(function(sums[0], sums[1]), function(sums[2], sums[3])).store_unaligned(values.data());
  for (std::size_t half = values.size() / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) values[i] = function(values[i], values[i + half]);
  }
  return values[0];
}

inline constexpr auto sum_of = [](auto a, auto b) { return a + b; };
inline constexpr auto max_of = [](auto a, auto b) {
  using std::max;
  using xsimd::max;
  return max(a, b);
};

template <class T>
Index length(std::span<T> values) {
  return static_cast<Index>(values.size());
}

template <class T>
Vec<T> logistic(Vec<T> x) {
  return T(1) / (T(1) + xsimd::exp(-x));
}

}  // namespace conclave::simd
