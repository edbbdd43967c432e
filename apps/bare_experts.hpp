// SPDX-License-Identifier: BSD-3-Clause
// The matrix products of experts and nothing else: what no MoE layer can be faster than.
#pragma once

#include "experts/feed_forward.hpp"
#include "runtime/core/matrix.hpp"

#include <functional>

namespace conclave::apps {

/// Computes the products of an expert's forward and backward over some rows in the blocks that ExpertShard uses, on one
/// thread, with zeros for numbers. Its memory is kept from call to call.
class BareExperts {
 public:
  /// Forward, input gradient and weight gradient of each of the expert's matrices; returns the floating-point
  /// operations, 6 a row and matrix element.
  double run(Index rows, const experts::ExpertShape& shape);

 private:
  Matrix<float> in_, d_in_, hidden_, d_hidden_, w_, d_w_;
};

}  // namespace conclave::apps
