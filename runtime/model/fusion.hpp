// SPDX-License-Identifier: BSD-3-Clause
// How what a token's experts computed becomes the token's output.
#pragma once

#include "comm/mpi/inbox.hpp"
#include "gating/dispatch_plan.hpp"
#include "runtime/core/options.hpp"

#include <array>

namespace conclave::model {

/// Over the kept choices j of a token, with gates g_j and results f_j [width]:
///   weighted   y = sum_j g_j f_j
///   mean       y = (1 / number kept) sum_j f_j
///   max        y = the element-wise maximum of the f_j
///   vote       y = 0: the results are taken one by one, each to speak for a class (voting.hpp)
/// A token that nobody serves gets 0.
enum class Fusion { weighted, mean, max, vote };

inline constexpr std::array<EnumName<Fusion>, 4> enum_names(Fusion) {
  return {{{Fusion::weighted, "weighted"}, {Fusion::mean, "mean"}, {Fusion::max, "max"}, {Fusion::vote, "vote"}}};
}

/// What came back for the tokens of a rank: choice c's result stands in row plan.row_of_choice(c).
template <class T>
struct KeptResults {
  const gating::DispatchPlan& plan;
  std::span<const T> gates;     // [kept choices] by token, then choice
  ScatteredRows<const T> rows;  // [kept choices, width] in sending order
};

/// Whether the results enter a sum: then the gradient of each is a multiple of its token's, df_j = w_j dy.
[[nodiscard]] constexpr bool is_sum(Fusion fusion) { return fusion == Fusion::weighted || fusion == Fusion::mean; }

/// Where the gradients of such results and of their gates are to be written, laid out as they are.
template <class T>
struct ResultGradients {
  ScatteredRows<T> rows;     // [kept choices, width] in sending order; of a sum, dy, and only where it is wanted
  ScatteredRows<T> weights;  // [kept choices, 1] in sending order: what they are to be multiplied by; only of a sum
  std::span<T> gates;        // [kept choices] by token, then choice
};

/// y[t] for the tokens t in `tokens`; choices are taken in order. y: [all tokens, width].
template <class T>
void fuse(Fusion fusion, const KeptResults<T>& results, Range tokens, MatrixView<T> y);

/// The adjoint for these tokens, from dy [all tokens, width]: the gradient of choice c's result in the row of `d` that
/// the result has, and of its gate in d.gates[c]. mean and max do not look at gates: their gradient is 0; of max an
/// element's gradient goes to the first choice that attains it. Not for vote, where no y depends on them.
template <class T>
void fuse_backward(Fusion fusion, const KeptResults<T>& results, Range tokens, ConstMatrixView<T> dy,
                   const ResultGradients<T>& d);

}  // namespace conclave::model
