// SPDX-License-Identifier: BSD-3-Clause
// How optimizers move parameters, in one pass over the arrays. No element looks at another, and each goes through the
// same instructions wherever an array is cut.
#pragma once

#include <span>

namespace conclave {

/// The factors of one AdamW update (runtime/train/adamw.hpp), g = scale * gradient:
///   m = beta1 m + rest1 g;  v = beta2 v + rest2 g^2;  w = keep w - rate m / (sqrt(unbias2 v) + epsilon)
struct AdamwFactors {
  float scale, beta1, rest1, beta2, rest2, rate, unbias2, epsilon, keep;
};

/// values, gradient, m and v: [n]. Moves 28 bytes an element: all four are read, all but the gradient written.
void adamw_update(const AdamwFactors& factors, std::span<float> values, std::span<const float> gradient,
                  std::span<float> m, std::span<float> v);

/// m = momentum m + scale g;  w = keep w - rate m
struct MomentumFactors {
  float scale, momentum, rate, keep;
};

/// values, gradient and m: [n]. Moves 20 bytes an element.
void momentum_update(const MomentumFactors& factors, std::span<float> values, std::span<const float> gradient,
                     std::span<float> m);

}  // namespace conclave
