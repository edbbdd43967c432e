// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/fusion.hpp"

#include "runtime/core/vector_kernels.hpp"

#include <algorithm>

namespace conclave::model {
namespace {

// The weight of each of a token's choices, where the sum is weighted.
template <class T>
T weight(Fusion fusion, const KeptResults<T>& results, Range choices, Index choice) {
  if (fusion == Fusion::mean) return T{1} / static_cast<T>(choices.size());
  return results.gates[static_cast<std::size_t>(choice)];
}

template <class T>
std::span<const T> result_of(const KeptResults<T>& results, Index choice) {
  return results.rows.row(results.plan.row_of_choice(choice));
}

template <class T>
void fuse_by_weight(Fusion fusion, const KeptResults<T>& results, Range choices, std::span<T> y) {
  for (Index c = choices.begin; c < choices.end; ++c) {
    const T w = weight(fusion, results, choices, c);
    if (c == choices.begin) {
      scaled_copy<T>(w, result_of(results, c), y);
    } else {
      axpy<T>(w, result_of(results, c), y);
    }
  }
}

template <class T>
void fuse_by_maximum(const KeptResults<T>& results, Range choices, std::span<T> y) {
  std::copy_n(result_of(results, choices.begin).data(), y.size(), y.data());
  for (Index c = choices.begin + 1; c < choices.end; ++c) {
    const std::span<const T> f = result_of(results, c);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = std::max(y[i], f[i]);
  }
}

// y = sum_j w_j f_j: df_j = w_j dy
template <class T>
void sum_backward(Fusion fusion, const KeptResults<T>& results, Range choices, std::span<const T> dy,
                  const ResultGradients<T>& d) {
  for (Index c = choices.begin; c < choices.end; ++c) {
    const Index row = results.plan.row_of_choice(c);
    d.weights.row(row).front() = weight(fusion, results, choices, c);
    if (d.rows.wants(row)) std::ranges::copy(dy, d.rows.row(row).begin());
  }
}

// y_i = max_j f_j[i]: df_j[i] = dy_i for the first j that attains it, 0 for the others.
template <class T>
void maximum_backward(const KeptResults<T>& results, Range choices, std::span<const T> dy,
                      const ScatteredRows<T>& d_results) {
  for (std::size_t i = 0; i < dy.size(); ++i) {
    Index first = choices.begin;
    for (Index c = choices.begin + 1; c < choices.end; ++c) {
      if (result_of(results, c)[i] > result_of(results, first)[i]) first = c;
    }
    for (Index c = choices.begin; c < choices.end; ++c) {
      d_results.row(results.plan.row_of_choice(c))[i] = c == first ? dy[i] : T{0};
    }
  }
}

}  // namespace

template <class T>
void fuse(Fusion fusion, const KeptResults<T>& results, Range tokens, MatrixView<T> y) {
  for (Index t = tokens.begin; t < tokens.end; ++t) {
    const Range choices = results.plan.choices_of(t);
    if (choices.empty() || fusion == Fusion::vote) {
      std::fill_n(y.row(t).data(), y.cols, T{0});
    } else if (fusion == Fusion::max) {
      fuse_by_maximum(results, choices, y.row(t));
    } else {
      fuse_by_weight(fusion, results, choices, y.row(t));
    }
  }
}

template <class T>
void fuse_backward(Fusion fusion, const KeptResults<T>& results, Range tokens, ConstMatrixView<T> dy,
                   const ResultGradients<T>& d) {
  invariant(fusion != Fusion::vote, "the gradient of a sum that was not taken");
  for (Index t = tokens.begin; t < tokens.end; ++t) {
    const Range choices = results.plan.choices_of(t);
    if (fusion == Fusion::max) {
      maximum_backward(results, choices, dy.row(t), d.rows);
    } else {
      sum_backward(fusion, results, choices, dy.row(t), d);
    }
    for (Index c = choices.begin; c < choices.end; ++c) {
      d.gates[static_cast<std::size_t>(c)] =
          fusion == Fusion::weighted ? dot<T>(result_of(results, c), dy.row(t)) : T{0};
    }
  }
}

#define CONCLAVE_INSTANTIATE(T)                                            \
  template void fuse(Fusion, const KeptResults<T>&, Range, MatrixView<T>); \
  template void fuse_backward(Fusion, const KeptResults<T>&, Range, ConstMatrixView<T>, const ResultGradients<T>&)
CONCLAVE_INSTANTIATE(float);
CONCLAVE_INSTANTIATE(double);
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::model
