// SPDX-License-Identifier: BSD-3-Clause
// What trainer, optimizer, evaluator and checkpoints know of a model, whatever it predicts; and the blocks that all
// models are made of.
#pragma once

#include "runtime/model/block.hpp"
#include "runtime/model/key_value_cache.hpp"
#include "runtime/model/loss.hpp"
#include "runtime/model/options.hpp"
#include "runtime/model/soft_targets.hpp"

#include <deque>
#include <memory>

namespace conclave::model {

/// The sizes of a model that its data decides.
struct DataShape {
  Index vocabulary = 0;  // distinct tokens; 0: a sample is a vector of features
  Index features = 0;    // of a sample; 0: a sample is a sequence of tokens
  Index classes = 0;     // of samples; 0: what is predicted is each token's successor
  friend bool operator==(const DataShape&, const DataShape&) = default;
};

/// This rank's samples of a pass, borrowed. A sample is a sequence of `context` tokens or one vector of features, which
/// takes the place of one token.
template <class T>
struct BatchView {
  std::span<const std::int32_t> tokens{};   // [local tokens]; of feature vectors all 0
  std::span<const std::int32_t> targets{};  // [local tokens] their successors or no_target; or [local samples] classes
  std::span<const std::int32_t> lengths{};  // [local samples] tokens that count, of texts with a class; else empty
  ConstMatrixView<T> features{};            // [local samples, features], or empty
  SoftTargets<T> soft{};                    // of language models: a teacher's part in the loss
};

/// A model on one rank: replicated parameters whole, experts as far as the map gives them to this rank.
template <class T>
class Model {
 public:
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Forward and backward of one pass. `gradients` takes the replicated parameters' sums, the shards the experts'. The
  /// objective is the mean over what is predicted in the step of its loss plus the routers' losses, over all passes
  /// together. Collective.
  virtual void forward_backward(const Step& step, const BatchView<T>& batch, GroupGradients<T>& gradients) = 0;

  /// Forward only; the losses of the local groups are in group_losses(). Collective.
  virtual void evaluate(const Step& step, const BatchView<T>& batch) = 0;

  /// The loss of each local group in the last pass.
  [[nodiscard]] const std::vector<LossSums>& group_losses() const { return group_losses_; }
  /// [local samples]: the class that the last pass gave each; empty for a model without classes.
  [[nodiscard]] const std::vector<std::int32_t>& predictions() const { return predictions_; }

  [[nodiscard]] const ParameterList& replicated() const { return replicated_; }
  /// Flat values of the replicated parameters, the same on every rank.
  [[nodiscard]] std::span<T> values() { return values_.flat(); }
  [[nodiscard]] const std::vector<MoeLayer<T>*>& moe_layers() { return moe_layers_; }
  /// Parameters over all ranks.
  [[nodiscard]] Index num_parameters() const;
  [[nodiscard]] const ModelOptions& options() const { return options_; }

 protected:
  explicit Model(const ModelOptions& options) : options_(options) {}
  void add_blocks(bool attention, Index seed, const Ranks& ranks);
  /// Draws all initial values; to be called when every tensor is registered.
  void initialise_values(Index seed);

  [[nodiscard]] ParameterView<const T> view() const { return ParameterView<const T>(values_.flat()); }
  /// tokens -> their rows of the table, [local tokens, width], in embedded_.
  void embed(const Step& step, const Embedding<T>& embedding, std::span<const std::int32_t> tokens);
  /// The blocks' output; x must stay as it is until backward. `cache` as Block::forward.
  ConstMatrixView<T> blocks_forward(const Step& step, ConstMatrixView<T> x, std::span<const std::int32_t> token_ids,
                                    KeyValueCache<T>* cache = nullptr);
  /// d: the gradient of the blocks' output on entry, of their input on return.
  void blocks_backward(const Step& step, std::span<const std::int32_t> token_ids, MatrixView<T> d,
                       GroupGradients<T>& gradients);

  ModelOptions options_;
  ParameterList replicated_;
  std::deque<Block<T>> blocks_;
  std::vector<MoeLayer<T>*> moe_layers_;          // those of the blocks that have one
  Matrix<T> values_;                              // [1, replicated_.size()]
  Matrix<T> embedded_;                            // [local tokens, width] what goes into the blocks
  std::vector<ConstMatrixView<T>> block_inputs_;  // [layers + 1], the last is the blocks' output
  std::vector<LossSums> group_losses_;            // [local groups]
  std::vector<std::int32_t> predictions_;         // [local samples], or empty
};

/// The elements of `values` that belong to these rows.
template <class T>
[[nodiscard]] std::span<T> part(std::span<T> values, Range rows) {
  return values.subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
}

/// The model for such data, with initial values drawn from `seed`. options must be valid; `ranks` must outlive the
/// model. InputError if the options do not suit the data's sizes.
template <class T>
[[nodiscard]] std::unique_ptr<Model<T>> make_model(const ModelOptions& options, const DataShape& shape, Index seed,
                                                   const Ranks& ranks);

}  // namespace conclave::model
