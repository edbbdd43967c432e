// SPDX-License-Identifier: BSD-3-Clause
// What systems do with the second of two experts.
#pragma once

#include "runtime/core/matrix.hpp"
#include "runtime/core/random.hpp"

namespace conclave::gating {

/// GShard's random second expert (Lepikhin et al. 2021, algorithm 1): refused[t,1] = 1 unless g / threshold > u, with g
/// the share of choice 1 in the two raw gates and u the draw (token, 0). GShard's threshold is 0.5, Mesh-TensorFlow's
/// 0.2 (transformer/moe.py). chosen_score, refused: [S, 2].
template <class T>
void refuse_weak_seconds(ConstMatrixView<T> chosen_score, const Random& random, TokenId first_token,
                         MatrixView<char> refused, double threshold = 0.5);

/// DeepSpeed's sampled second expert (moe/sharded_moe.py, top2gating): choices[t,1] = the expert other than choice 0
/// with the largest z[t,e] - ln(-ln u), u the draw (token, e): a draw from the softmax without the first (Gumbel-max).
/// logits: [S, E]; choices: [S, 2].
template <class T>
void sample_second(ConstMatrixView<T> logits, const Random& random, TokenId first_token,
                   MatrixView<std::int32_t> choices);

}  // namespace conclave::gating
