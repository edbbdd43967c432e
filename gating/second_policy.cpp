// SPDX-License-Identifier: BSD-3-Clause
#include "gating/second_policy.hpp"

#include <cmath>

namespace conclave::gating {

template <class T>
void refuse_weak_seconds(ConstMatrixView<T> chosen_score, const Random& random, TokenId first_token,
                         MatrixView<char> refused, double threshold) {
  for (Index t = 0; t < chosen_score.rows; ++t) {
    const auto first = static_cast<double>(chosen_score(t, 0));
    const auto second = static_cast<double>(chosen_score(t, 1));
    const double share = second / std::max(first + second, 1e-9);
    refused(t, 0) = 0;
    refused(t, 1) = share / threshold > random.uniform(first_token.value() + t, 0) ? 0 : 1;
  }
}

template <class T>
void sample_second(ConstMatrixView<T> logits, const Random& random, TokenId first_token,
                   MatrixView<std::int32_t> choices) {
  for (Index t = 0; t < logits.rows; ++t) {
    std::int32_t best = choices(t, 0) == 0 ? 1 : 0;
    double largest = -std::numeric_limits<double>::infinity();
    for (Index e = 0; e < logits.cols; ++e) {
      if (e == choices(t, 0)) continue;
      const double gumbel = -std::log(-std::log(random.uniform(first_token.value() + t, e)));
      const double noisy = static_cast<double>(logits(t, e)) + gumbel;
      if (!(noisy > largest)) continue;
      largest = noisy;
      best = static_cast<std::int32_t>(e);
    }
    choices(t, 1) = best;
  }
}

template void refuse_weak_seconds(ConstMatrixView<float>, const Random&, TokenId, MatrixView<char>, double);
template void refuse_weak_seconds(ConstMatrixView<double>, const Random&, TokenId, MatrixView<char>, double);
template void sample_second(ConstMatrixView<float>, const Random&, TokenId, MatrixView<std::int32_t>);
template void sample_second(ConstMatrixView<double>, const Random&, TokenId, MatrixView<std::int32_t>);

}  // namespace conclave::gating
