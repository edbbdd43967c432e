// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/train/optimizer.hpp"

namespace conclave::train {

/// AdamW (Loshchilov & Hutter 2019, algorithm 2): with g the gradient, t updates done including this one,
///   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   w -= rate (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay w)
[[nodiscard]] std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options);

}  // namespace conclave::train
