// SPDX-License-Identifier: BSD-3-Clause
// A classifier of texts or of vectors of features, and back:
//   text       embedding -> blocks -> norm -> mean over the text's tokens -> head -> loss
//   features   linear map -> blocks without attention -> norm -> head -> loss
// With one block, no map, no residual path and as many choices as experts, a vector's logits are the head of the
// classic mixture of experts: y = sum_e g_e(x) f_e(x), g = softmax(W x) (Jacobs, Jordan, Nowlan and Hinton 1991).
#pragma once

#include "runtime/model/model.hpp"
#include "runtime/model/voting.hpp"

#include <optional>

namespace conclave::model {

/// Predicts each sample's class. The loss is the mean over the step's samples of the cross entropy; where the last
/// block's experts vote, of what voting.hpp says.
template <class T>
class Classifier final : public Model<T> {
 public:
  /// Makes the model with initial values drawn from `seed`. options must be valid; `ranks` must outlive the model.
  /// InputError if there is no input map and the vectors have another size than the width.
  Classifier(const ModelOptions& options, const DataShape& shape, Index seed, const Ranks& ranks);

  void forward_backward(const Step& step, const BatchView<T>& batch, GroupGradients<T>& gradients) override;
  void evaluate(const Step& step, const BatchView<T>& batch) override;

  /// [local samples, classes] of the last pass; of a model whose experts do not vote.
  [[nodiscard]] ConstMatrixView<T> logits() const { return logits_.view(); }

 private:
  using Model<T>::view;
  using Model<T>::options_;
  using Model<T>::replicated_;
  using Model<T>::embedded_;
  using Model<T>::group_losses_;
  using Model<T>::predictions_;

  [[nodiscard]] bool votes() const { return options_.fusion == Fusion::vote; }
  [[nodiscard]] Index tokens_in_sample() const { return embedding_ ? options_.context : 1; }
  [[nodiscard]] Range samples_of(const Step& step, Index group) const;
  [[nodiscard]] SampleRows sample_rows(const BatchView<T>& batch) const { return {tokens_in_sample(), batch.lengths}; }
  void check(const Step& step, const BatchView<T>& batch) const;

  ConstMatrixView<T> forward(const Step& step, const BatchView<T>& batch);
  void head_forward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> x);
  void head_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> x, MatrixView<T> d,
                     GroupGradients<T>& gradients);
  void pool(ConstMatrixView<T> x, const SampleRows& rows, Range samples);
  void pool_backward(const SampleRows& rows, Range samples, MatrixView<T> dx) const;
  void losses(const Step& step, const BatchView<T>& batch);
  void losses_and_gradients(const Step& step, const BatchView<T>& batch, double scale);
  void input_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> d, GroupGradients<T>& gradients);

  DataShape shape_;
  std::optional<Embedding<T>> embedding_;  // of text
  std::optional<Linear<T>> input_map_;     // of features, where asked for
  std::optional<RmsNorm<T>> final_norm_;   // with the residual path
  std::optional<Linear<T>> head_;          // registered last
  Voting<T> voting_;

  // One pass's activations.
  Matrix<T> normed_, d_normed_, d_;  // [local tokens, width]
  Matrix<T> d_features_;             // [local samples, features] scratch
  std::vector<T> final_rms_;         // [local tokens]
  Matrix<T> pooled_, d_pooled_;      // [local samples, width]
  Matrix<T> logits_;                 // [local samples, classes], then their gradient
};

}  // namespace conclave::model
