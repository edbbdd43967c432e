// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "runtime/train/optimizer.hpp"

namespace conclave::train {

/// Stochastic gradient descent with momentum and decoupled weight decay (Loshchilov & Hutter 2019, algorithm 1):
///   m = momentum m + g;  w -= rate (m + decay w)
[[nodiscard]] std::unique_ptr<Optimizer> make_sgd(const OptimizerOptions& options);

}  // namespace conclave::train
