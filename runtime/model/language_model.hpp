// SPDX-License-Identifier: BSD-3-Clause
// A decoder-only Transformer language model: data -> embedding -> blocks -> norm -> head -> loss, and back.
#pragma once

#include "runtime/model/head_loss.hpp"
#include "runtime/model/model.hpp"

#include <optional>

namespace conclave::model {

/// Predicts each token's successor. The loss is the mean over the step's targets of the cross entropy; a token may have
/// none (no_target), then it is context alone. Where the batch has soft targets, they have their part in the loss
/// (distilled_head.hpp).
template <class T>
class LanguageModel final : public Model<T> {
 public:
  /// Makes the model with initial values drawn from `seed`. options must be valid; `ranks` must outlive the model.
  LanguageModel(const ModelOptions& options, Index vocabulary, Index seed, const Ranks& ranks);

  void forward_backward(const Step& step, const BatchView<T>& batch, GroupGradients<T>& gradients) override;
  void evaluate(const Step& step, const BatchView<T>& batch) override;

  /// [local tokens, vocabulary]: the logits after each of the tokens. Collective.
  [[nodiscard]] ConstMatrixView<T> logits(const Step& step, std::span<const std::int32_t> tokens);

  /// [local groups, vocabulary]: the logits after the last token of each sequence that the step goes on with, of which
  /// `tokens` are the new ones, as many of each; adds these to the cache. A group is one sequence, so what is dense
  /// about it has the bits of its own tokens; an expert's rows of all sequences meet in one product, so results may
  /// differ in rounding by which sequences come together, never by the number of ranks. Collective.
  [[nodiscard]] ConstMatrixView<T> next_logits(const Step& step, std::span<const std::int32_t> tokens,
                                               KeyValueCache<T>& cache);

 private:
  using Model<T>::view;
  using Model<T>::options_;
  using Model<T>::replicated_;
  using Model<T>::embedded_;
  using Model<T>::block_inputs_;
  using Model<T>::group_losses_;

  ConstMatrixView<T> forward(const Step& step, std::span<const std::int32_t> tokens, KeyValueCache<T>* cache = nullptr);
  void norm_forward(const Step& step, ConstMatrixView<T> x);
  [[nodiscard]] Tensor head_weight() const { return head_ ? head_->weight() : embedding_.table(); }
  [[nodiscard]] HeadRows<T> head_rows(const Step& step, std::span<const std::int32_t> targets, Index group) const;
  LossSums group_loss(const Step& step, const BatchView<T>& batch, Index group, const HeadGradients<T>& gradients);
  void head(const Step& step, const BatchView<T>& batch, MatrixView<T> d, GroupGradients<T>& gradients);
  void embedding_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> d,
                          GroupGradients<T>& gradients);

  Index vocabulary_;
  Embedding<T> embedding_;
  RmsNorm<T> final_norm_;
  std::optional<Linear<T>> head_;  // absent where the embedding's table is the head

  // One pass's activations, [local tokens, ...].
  Matrix<T> normed_, d_normed_, d_;
  std::vector<T> final_rms_, log_sums_;
  Matrix<T> logits_;  // [local tokens, vocabulary] where they are asked for; training and evaluation never have them
};

}  // namespace conclave::model
