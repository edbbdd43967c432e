// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/language_model.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"

namespace conclave::model {
namespace {

std::span<const std::int32_t> part(std::span<const std::int32_t> tokens, Range rows) {
  return tokens.subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
}

constexpr Initial token_initial{.deviation = 0.02};

}  // namespace

template <class T>
LanguageModel<T>::LanguageModel(const ModelOptions& options, Index vocabulary, Index seed, const Ranks& ranks)
    : options_(options),
      vocabulary_(vocabulary),
      map_(ExpertMap::contiguous(options.moe_every == 0 ? 0 : options.router.experts, ranks.communicator->size())),
      embedding_(replicated_, "embedding", vocabulary, options.width, token_initial),
      final_norm_(replicated_, "final_norm", options.width) {
  for (Index b = 0; b < options.layers; ++b) blocks_.emplace_back(replicated_, b, options, seed, map_, ranks);
  if (!options.tied_head) head_.emplace(replicated_, "head", options.width, vocabulary, token_initial);
  values_.resize(1, replicated_.size());
  initialise<T>(replicated_, {0, replicated_.size()}, seed, values_.flat());
  for (MoeLayer<T>* layer : moe_layers()) {
    for (Index i = 0; i < layer->shard().num_experts(); ++i) {
      const ParameterList& list = layer->shard().parameters(LocalExpertId{i});
      initialise<T>(list, {0, list.size()}, seed, layer->shard().values(LocalExpertId{i}));
    }
  }
}

template <class T>
std::vector<MoeLayer<T>*> LanguageModel<T>::moe_layers() {
  std::vector<MoeLayer<T>*> layers;
  for (Block<T>& block : blocks_) {
    if (block.moe() != nullptr) layers.push_back(block.moe());
  }
  return layers;
}

template <class T>
Index LanguageModel<T>::num_parameters() const {
  Index total = replicated_.size();
  for (const Block<T>& block : blocks_) {
    if (block.moe() == nullptr) continue;
    total += block.moe()->base().size();
    for (Index e = 0; e < block.moe()->map().num_experts(); ++e) {
      total += block.moe()->expert_parameters(ExpertId{e}).size();
    }
  }
  return total;
}

template <class T>
void LanguageModel<T>::forward_backward(const Step& step, std::span<const std::int32_t> tokens,
                                        std::span<const std::int32_t> targets, GroupGradients<T>& gradients) {
  head_forward(step, forward(step, tokens));
  const double scale = 1.0 / static_cast<double>(step.num_groups * step.groups.rows);
  d_.resize(step.groups.total_rows(), options_.width);
  {
    const PhaseScope scope(*step.times, Phase::head);
    parallel_for(step.groups.num_groups, [&](Index g) {
      const Range rows = step.groups.of(g);
      group_losses_[static_cast<std::size_t>(g)] =
          cross_entropy_and_gradient<T>(logits_.view().row_block(rows), part(targets, rows), scale);
    });
    head_backward(step, d_.view(), gradients);
  }
  for (std::size_t b = blocks_.size(); b-- > 0;) {
    blocks_[b].backward(view(), step, block_inputs_[b], tokens, 1.0, d_.view(), gradients);
  }
  embedding_backward(step, tokens, d_.view(), gradients);
}

template <class T>
void LanguageModel<T>::evaluate(const Step& step, std::span<const std::int32_t> tokens,
                                std::span<const std::int32_t> targets) {
  head_forward(step, forward(step, tokens));
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    group_losses_[static_cast<std::size_t>(g)] =
        cross_entropy<T>(std::as_const(logits_).view().row_block(rows), part(targets, rows));
  });
}

template <class T>
ConstMatrixView<T> LanguageModel<T>::logits(const Step& step, std::span<const std::int32_t> tokens) {
  head_forward(step, forward(step, tokens));
  return std::as_const(logits_).view();
}

// tokens -> embedding -> blocks: the input of the final norm.
template <class T>
ConstMatrixView<T> LanguageModel<T>::forward(const Step& step, std::span<const std::int32_t> tokens) {
  invariant(static_cast<Index>(tokens.size()) == step.groups.total_rows(), "{} tokens for {} rows", tokens.size(),
            step.groups.total_rows());
  embedded_.resize(step.groups.total_rows(), options_.width);
  {
    const PhaseScope scope(*step.times, Phase::embedding);
    parallel_for(step.groups.num_groups, [&](Index g) {
      const Range rows = step.groups.of(g);
      embedding_.forward(view(), part(tokens, rows), embedded_.view().row_block(rows));
    });
  }
  block_inputs_.assign(1, embedded_.view());
  for (Block<T>& block : blocks_) {
    block_inputs_.push_back(block.forward(view(), step, block_inputs_.back(), tokens));
  }
  return block_inputs_.back();
}

// x -> final norm -> logits
template <class T>
void LanguageModel<T>::head_forward(const Step& step, ConstMatrixView<T> x) {
  const PhaseScope scope(*step.times, Phase::head);
  group_losses_.assign(static_cast<std::size_t>(step.groups.num_groups), {});
  normed_.resize(x.rows, x.cols);
  logits_.resize(x.rows, vocabulary_);
  final_rms_.resize(static_cast<std::size_t>(x.rows));
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    const std::span<T> rms(final_rms_.data() + rows.begin, static_cast<std::size_t>(rows.size()));
    const MatrixView<T> normed = normed_.view().row_block(rows);
    const MatrixView<T> logits = logits_.view().row_block(rows);
    final_norm_.forward(view(), x.row_block(rows), rms, normed);
    if (head_) {
      head_->forward(view(), normed, logits);
    } else {
      gemm_nt<T>(normed, view().matrix(embedding_.table()), T{0}, logits);
    }
  });
}

// d = the gradient of the final norm's input, from the logits' gradient in logits_.
template <class T>
void LanguageModel<T>::head_backward(const Step& step, MatrixView<T> d, GroupGradients<T>& gradients) {
  d_normed_.resize(d.rows, d.cols);
  const auto logits = [&](Range rows) { return std::as_const(logits_).view().row_block(rows); };
  if (head_) {
    gradients.add(head_->parameters(), [&](Index g, ParameterView<T> leaf) {
      const Range rows = step.groups.of(g);
      head_->backward(view(), std::as_const(normed_).view().row_block(rows), logits(rows), T{0},
                      d_normed_.view().row_block(rows), leaf);
    });
  } else {
    // The table's gradient waits for embedding_backward: a parameter's leaves are summed once.
    parallel_for(step.groups.num_groups, [&](Index g) {
      const Range rows = step.groups.of(g);
      gemm_nn<T>(logits(rows), view().matrix(embedding_.table()), T{0}, d_normed_.view().row_block(rows));
    });
  }
  gradients.add(final_norm_.parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range rows = step.groups.of(g);
    const std::span<const T> rms(final_rms_.data() + rows.begin, static_cast<std::size_t>(rows.size()));
    const MatrixView<T> dx = d.row_block(rows);
    for (Index i = 0; i < dx.rows; ++i) std::fill_n(dx.row(i).data(), dx.cols, T{0});
    final_norm_.backward(view(), block_inputs_.back().row_block(rows), rms,
                         std::as_const(d_normed_).view().row_block(rows), dx, leaf);
  });
}

template <class T>
void LanguageModel<T>::embedding_backward(const Step& step, std::span<const std::int32_t> tokens, ConstMatrixView<T> d,
                                          GroupGradients<T>& gradients) {
  const PhaseScope scope(*step.times, Phase::embedding);
  gradients.add(embedding_.parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range rows = step.groups.of(g);
    if (!head_) {
      gemm_tn<T>(std::as_const(logits_).view().row_block(rows), std::as_const(normed_).view().row_block(rows), T{1},
                 leaf.matrix(embedding_.table()));
    }
    embedding_.backward(part(tokens, rows), d.row_block(rows), leaf);
  });
}

template class LanguageModel<float>;
template class LanguageModel<double>;

}  // namespace conclave::model
