// SPDX-License-Identifier: BSD-3-Clause
// One block, pre-norm:
//   m = x + attention(norm(x));  y = m + feed_forward(norm(m)),  the feed-forward dense or an MoE layer.
// A block whose rows do not look at each other has no attention: m = x. Without residual path y = feed_forward(x).
#pragma once

#include "runtime/model/attention.hpp"
#include "runtime/model/dense_feed_forward.hpp"
#include "runtime/model/moe_layer.hpp"
#include "runtime/model/options.hpp"

namespace conclave::model {

/// Which of a model's blocks it is, and whether its tokens see each other.
struct BlockPlace {
  Index number = 0;
  bool attention = true;
};

template <class T>
class Block {
 public:
  /// Registers the replicated tensors under "block/<number>/".
  Block(ParameterList& replicated, BlockPlace place, const ModelOptions& options, Index seed, const ExpertMap& map,
        const Ranks& ranks);

  /// The block's output [local tokens, width]; valid until the next forward. x must stay as it is until backward.
  /// `cache` is not null where the step goes on with sequences; then there is no backward.
  ConstMatrixView<T> forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                             std::span<const std::int32_t> token_ids, AttentionCache<T>* cache = nullptr);

  /// d is d objective / d y on entry, d objective / d x on return. loss_scale multiplies the routers' losses.
  void backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                std::span<const std::int32_t> token_ids, double loss_scale, MatrixView<T> d,
                GroupGradients<T>& gradients);

  /// The MoE layer, or null where the feed-forward is dense.
  [[nodiscard]] MoeLayer<T>* moe() { return moe_.get(); }
  [[nodiscard]] const MoeLayer<T>* moe() const { return moe_.get(); }

 private:
  void attention_forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                         AttentionCache<T>* cache);
  void norm_forward(const RmsNorm<T>& norm, ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                    std::vector<T>& inverse_rms, Matrix<T>& y);
  void norm_backward(const RmsNorm<T>& norm, ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                     const std::vector<T>& inverse_rms, MatrixView<T> dx, GroupGradients<T>& gradients);

  // m, given the block's input, and what the feed-forward is applied to.
  [[nodiscard]] ConstMatrixView<T> middle(ConstMatrixView<T> x) const { return attention_ ? middle_.view() : x; }
  [[nodiscard]] ConstMatrixView<T> feed_forward_in(ConstMatrixView<T> x) const {
    return feed_forward_norm_ ? feed_forward_in_.view() : x;
  }

  std::optional<RmsNorm<T>> attention_norm_;  // with attention_
  std::optional<CausalSelfAttention<T>> attention_;
  std::optional<RmsNorm<T>> feed_forward_norm_;  // with the residual path
  std::unique_ptr<DenseFeedForward<T>> dense_;   // one of these two
  std::unique_ptr<MoeLayer<T>> moe_;

  // All [local tokens, width].
  Matrix<T> attention_in_, middle_, feed_forward_in_, out_;
  Matrix<T> d_branch_;                               // gradient of a norm's output
  std::vector<T> attention_rms_, feed_forward_rms_;  // [local tokens]
  AttentionTape<T> attention_tape_;
};

}  // namespace conclave::model
