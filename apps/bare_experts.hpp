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
  /// Forward, input gradient and weight gradient of each of the expert's matrices, and of their deltas if it has any;
  /// returns the floating-point operations, 6 a row and matrix element.
  double run(Index rows, const experts::ExpertShape& shape);

 private:
  // What a delta A B adds to the products of y = x W^T: as many operations as it returns.
  double run_delta(Index rank, Matrix<float>& x, Matrix<float>& y, Matrix<float>& d_x, Matrix<float>& d_y);

  Matrix<float> in_, d_in_, hidden_, d_hidden_, w_, d_w_;
  Matrix<float> low_, d_low_, a_, d_a_, b_, d_b_;  // of a delta
};

}  // namespace conclave::apps
