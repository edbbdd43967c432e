// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/language_model.hpp"

#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/distilled_head.hpp"

namespace conclave::model {
namespace {

constexpr Initial token_initial{.deviation = 0.02};

// The objective is the mean over the step's targets.
double loss_scale(const Step& step) {
  return 1.0 / static_cast<double>(step.num_targets > 0 ? step.num_targets : step.num_groups * step.groups.rows);
}

}  // namespace

template <class T>
LanguageModel<T>::LanguageModel(const ModelOptions& options, Index vocabulary, Index seed, const Ranks& ranks)
    : Model<T>(options),
      vocabulary_(vocabulary),
      embedding_(replicated_, "embedding", vocabulary, options.width, token_initial),
      final_norm_(replicated_, "final_norm", options.width) {
  this->add_blocks(true, seed, ranks);
  if (!options.tied_head) head_.emplace(replicated_, "head", options.width, vocabulary, token_initial);
  this->initialise_values(seed);
}

template <class T>
void LanguageModel<T>::forward_backward(const Step& step, const BatchView<T>& batch, GroupGradients<T>& gradients) {
  norm_forward(step, forward(step, batch.tokens));
  d_.resize(step.groups.total_rows(), options_.width);
  head(step, batch, d_.view(), gradients);
  this->blocks_backward(step, batch.tokens, d_.view(), gradients);
  embedding_backward(step, batch, d_.view(), gradients);
}

template <class T>
void LanguageModel<T>::evaluate(const Step& step, const BatchView<T>& batch) {
  norm_forward(step, forward(step, batch.tokens));
  const PhaseScope scope(*step.times, Phase::head);
  parallel_for(step.groups.num_groups,
               [&](Index g) { group_losses_[static_cast<std::size_t>(g)] = group_loss(step, batch, g, {}); });
}

template <class T>
ConstMatrixView<T> LanguageModel<T>::logits(const Step& step, std::span<const std::int32_t> tokens) {
  norm_forward(step, forward(step, tokens));
  const PhaseScope scope(*step.times, Phase::head);
  logits_.resize(normed_.rows(), vocabulary_);
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    gemm_nt<T>(normed_.view().row_block(rows), view().matrix(head_weight()), T{0}, logits_.view().row_block(rows));
  });
  return std::as_const(logits_).view();
}

template <class T>
ConstMatrixView<T> LanguageModel<T>::next_logits(const Step& step, std::span<const std::int32_t> tokens,
                                                 KeyValueCache<T>& cache) {
  norm_forward(step, forward(step, tokens, &cache));
  const PhaseScope scope(*step.times, Phase::head);
  logits_.resize(step.groups.num_groups, vocabulary_);
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Index last = step.groups.of(g).end - 1;
    gemm_nt<T>(normed_.view().row_block(last, 1), view().matrix(head_weight()), T{0}, logits_.view().row_block(g, 1));
  });
  return std::as_const(logits_).view();
}

// tokens -> embedding -> blocks: the input of the final norm.
template <class T>
ConstMatrixView<T> LanguageModel<T>::forward(const Step& step, std::span<const std::int32_t> tokens,
                                             KeyValueCache<T>* cache) {
  invariant(static_cast<Index>(tokens.size()) == step.groups.total_rows(), "{} tokens for {} rows", tokens.size(),
            step.groups.total_rows());
  step.times->enter_layer(std::nullopt, Direction::forward);
  this->embed(step, embedding_, tokens);
  return this->blocks_forward(step, embedded_.view(), tokens, cache);
}

// x -> final norm: what the head is applied to.
template <class T>
void LanguageModel<T>::norm_forward(const Step& step, ConstMatrixView<T> x) {
  const PhaseScope scope(*step.times, Phase::head);
  group_losses_.assign(static_cast<std::size_t>(step.groups.num_groups), {});
  normed_.resize(x.rows, x.cols);
  final_rms_.resize(static_cast<std::size_t>(x.rows));
  log_sums_.resize(static_cast<std::size_t>(x.rows));
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    final_norm_.forward(view(), x.row_block(rows), part(std::span(final_rms_), rows), normed_.view().row_block(rows));
  });
}

template <class T>
HeadRows<T> LanguageModel<T>::head_rows(const Step& step, std::span<const std::int32_t> targets, Index group) const {
  const Range rows = step.groups.of(group);
  return {normed_.view().row_block(rows), view().matrix(head_weight()), part(targets, rows)};
}

// One group's loss, with those of the head's gradients that are wanted.
template <class T>
LossSums LanguageModel<T>::group_loss(const Step& step, const BatchView<T>& batch, Index group,
                                      const HeadGradients<T>& gradients) {
  const Range rows = step.groups.of(group);
  const HeadRows<T> here = head_rows(step, batch.targets, group);
  if (batch.soft.is_there()) return distilled_head<T>(here, batch.soft.of(rows), loss_scale(step), gradients);
  const std::span<T> log_sums = part(std::span(log_sums_), rows);
  if (gradients.x.rows == 0 && gradients.weight.rows == 0) return head_loss<T>(here, log_sums);
  return head_loss_and_gradients<T>(here, loss_scale(step), log_sums, gradients);
}

// The groups' losses, and d = the gradient of the final norm's input.
template <class T>
void LanguageModel<T>::head(const Step& step, const BatchView<T>& batch, MatrixView<T> d,
                            GroupGradients<T>& gradients) {
  const PhaseScope scope(*step.times, Phase::head);
  d_normed_.resize(d.rows, d.cols);
  const auto loss_of = [&](Index g, MatrixView<T> d_weight) {
    const Range rows = step.groups.of(g);
    group_losses_[static_cast<std::size_t>(g)] =
        group_loss(step, batch, g, {d_normed_.view().row_block(rows), d_weight});
  };
  if (head_) {
    gradients.add(head_->parameters(), [&](Index g, ParameterView<T> leaf) { loss_of(g, leaf.matrix(head_weight())); });
  } else {
    // The table's gradient waits for embedding_backward: a parameter's leaves are summed once.
    parallel_for(step.groups.num_groups, [&](Index g) { loss_of(g, {}); });
  }
  gradients.add(final_norm_.parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range rows = step.groups.of(g);
    const MatrixView<T> dx = d.row_block(rows);
    std::ranges::fill(dx.flat(), T{0});
    final_norm_.backward(view(), block_inputs_.back().row_block(rows), part(std::span<const T>(final_rms_), rows),
                         std::as_const(d_normed_).view().row_block(rows), dx, leaf);
  });
}

template <class T>
void LanguageModel<T>::embedding_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> d,
                                          GroupGradients<T>& gradients) {
  const PhaseScope scope(*step.times, Phase::embedding);
  gradients.add(embedding_.parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range rows = step.groups.of(g);
    if (!head_ && batch.soft.is_there()) {
      group_loss(step, batch, g, {{}, leaf.matrix(embedding_.table())});
    } else if (!head_) {
      head_gradients<T>(head_rows(step, batch.targets, g), loss_scale(step), part(std::span<const T>(log_sums_), rows),
                        {{}, leaf.matrix(embedding_.table())});
    }
    embedding_.backward(part(batch.tokens, rows), d.row_block(rows), leaf);
  });
}

template class LanguageModel<float>;
template class LanguageModel<double>;

}  // namespace conclave::model
