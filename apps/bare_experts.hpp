// SPDX-License-Identifier: BSD-3-Clause
// The matrix products of experts and nothing else: what no MoE layer can be faster than.
#pragma once

#include "experts/feed_forward.hpp"
#include "runtime/core/matrix.hpp"

#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::apps {

/// The products of the experts' forward and backward, each over all rows of its expert in one call, on matrices of
/// their own with drawn numbers, so that every weight comes from memory as it does in a layer. With several threads
/// the experts are shared out, and where there are too few of them, rows of a product's result.
class BareExperts {
 public:
  /// Experts of these shapes; expert i has rows[i] rows.
  BareExperts(const std::vector<experts::ExpertShape>& shapes, const std::vector<Index>& rows);

  /// Forward, input gradient and weight gradient of each of the experts' matrices, and of their deltas if they have
  /// any.
  void run();
  /// The kinds of products that run() computes one after another, all experts of one kind together.
  [[nodiscard]] Index num_stages() const { return static_cast<Index>(stages_.size()); }
  [[nodiscard]] const std::string& stage_name(Index stage) const { return at(stage).name; }
  void run_stage(Index stage);

  /// Floating-point operations of run(), and of one stage: 2 a multiplication.
  [[nodiscard]] double flops() const;
  [[nodiscard]] double flops(Index stage) const;

 private:
  enum class Kind { nt, nn, tn };  // as gemm.hpp has them
  struct Product {
    Kind kind;
    MatrixView<float> a, b;
    float beta;
    MatrixView<float> c;
    [[nodiscard]] double flops() const;
    [[nodiscard]] Product part(Range rows) const;  // of c
    void compute() const;
  };
  struct Stage {
    std::string name;
    std::vector<Product> products{};
  };
  struct Linear {  // y = x W^T, or x (W + A B)^T, and its backward
    std::string_view name;
    MatrixView<float> x, y, d_y, d_x;
    MatrixView<float> w, d_w;
    float beta;  // of d_x; 1: it is a sum, whose first term another matrix has brought
    MatrixView<float> low{}, d_low{}, a{}, d_a{}, b{}, d_b{};  // of a delta: no rows where there is none
  };

  [[nodiscard]] const Stage& at(Index stage) const { return stages_[static_cast<std::size_t>(stage)]; }
  [[nodiscard]] MatrixView<float> matrix(Index rows, Index cols);
  [[nodiscard]] Linear linear(std::string_view name, MatrixView<float> x, MatrixView<float> y, MatrixView<float> d_y,
                              MatrixView<float> d_x, Index delta_rank);
  void add_expert(const experts::ExpertShape& shape, Index rows);
  void add_forward(const Linear& l);
  void add_backward(const Linear& l);
  void add(std::string_view what, const Linear& l, const std::vector<Product>& products);

  std::deque<Matrix<float>> memory_;
  std::vector<Stage> stages_;
};

}  // namespace conclave::apps
