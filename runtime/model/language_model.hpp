// SPDX-License-Identifier: BSD-3-Clause
// A decoder-only Transformer language model: data -> embedding -> blocks -> norm -> head -> loss, and back.
#pragma once

#include "runtime/model/block.hpp"
#include "runtime/model/loss.hpp"
#include "runtime/model/options.hpp"

#include <deque>
#include <optional>

namespace conclave::model {

/// The model on one rank: replicated parameters whole, experts as far as the map gives them to this rank.
template <class T>
class LanguageModel {
 public:
  /// Makes the model with initial values drawn from `seed`. options must be valid; `ranks` must outlive the model.
  LanguageModel(const ModelOptions& options, Index vocabulary, Index seed, const Ranks& ranks);

  /// Forward and backward of one pass. tokens, targets: [local tokens], the inputs and the tokens that follow them.
  /// `gradients` takes the replicated parameters' sums, the shards the experts'. The objective is the mean over the
  /// step's tokens of the cross entropy plus the routers' losses, over all passes together. Collective.
  void forward_backward(const Step& step, std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets,
                        GroupGradients<T>& gradients);

  /// Forward only; the losses of the local groups are in group_losses(). Collective.
  void evaluate(const Step& step, std::span<const std::int32_t> tokens, std::span<const std::int32_t> targets);

  /// [local tokens, vocabulary]: the logits after each of the tokens. Collective.
  [[nodiscard]] ConstMatrixView<T> logits(const Step& step, std::span<const std::int32_t> tokens);

  /// The cross entropy of each local group in the last pass.
  [[nodiscard]] const std::vector<LossSums>& group_losses() const { return group_losses_; }

  [[nodiscard]] const ParameterList& replicated() const { return replicated_; }
  /// Flat values of the replicated parameters, the same on every rank.
  [[nodiscard]] std::span<T> values() { return values_.flat(); }
  [[nodiscard]] std::vector<MoeLayer<T>*> moe_layers();
  /// Parameters over all ranks.
  [[nodiscard]] Index num_parameters() const;
  [[nodiscard]] const ModelOptions& options() const { return options_; }

 private:
  [[nodiscard]] ParameterView<const T> view() const { return ParameterView<const T>(values_.flat()); }
  ConstMatrixView<T> forward(const Step& step, std::span<const std::int32_t> tokens);
  void head_forward(const Step& step, ConstMatrixView<T> x);
  void head_backward(const Step& step, MatrixView<T> d, GroupGradients<T>& gradients);
  void embedding_backward(const Step& step, std::span<const std::int32_t> tokens, ConstMatrixView<T> d,
                          GroupGradients<T>& gradients);

  ModelOptions options_;
  Index vocabulary_;
  ParameterList replicated_;
  ExpertMap map_;
  Embedding<T> embedding_;
  RmsNorm<T> final_norm_;
  std::optional<Linear<T>> head_;  // absent where the embedding's table is the head
  std::deque<Block<T>> blocks_;
  Matrix<T> values_;  // [1, replicated_.size()]

  // One pass's activations, [local tokens, ...].
  Matrix<T> embedded_, normed_, d_normed_, d_;
  std::vector<T> final_rms_;
  std::vector<ConstMatrixView<T>> block_inputs_;  // [layers + 1], the last is the final norm's
  Matrix<T> logits_;
  std::vector<LossSums> group_losses_;
};

}  // namespace conclave::model
