// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/block.hpp"

#include "runtime/core/parallel.hpp"

#include <cmath>

namespace conclave::model {
namespace {

std::string in_block(Index number, std::string_view name) { return fmt::format("block/{}/{}", number, name); }

Initial normal_by_fan_in(Index inputs, double scale) {
  return {.deviation = scale / std::sqrt(static_cast<double>(inputs))};
}

template <class T>
std::span<T> part(std::vector<T>& values, Range range) {
  return std::span(values).subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

}  // namespace

template <class T>
Block<T>::Block(ParameterList& replicated, BlockPlace place, const ModelOptions& options, Index seed,
                const ExpertMap& map, const Ranks& ranks) {
  const Index number = place.number;
  if (place.attention) {
    attention_norm_.emplace(replicated, in_block(number, "attention_norm"), options.width);
    attention_.emplace(replicated, in_block(number, "attention"),
                       AttentionShape{options.width, options.heads, options.context},
                       normal_by_fan_in(options.width, 1.0), normal_by_fan_in(options.width, residual_scale(options)));
  }
  if (options.residual) feed_forward_norm_.emplace(replicated, in_block(number, "feed_forward_norm"), options.width);
  if (options.is_moe(number)) {
    moe_ = std::make_unique<MoeLayer<T>>(replicated, in_block(number, "moe/"), moe_shape(options, number), seed, number,
                                         map, ranks);
  } else {
    const experts::ExpertShape shape{options.dense_kind, options.width, options.dense_hidden,
                                     options.experts.expert_bias};
    dense_ = std::make_unique<DenseFeedForward<T>>(replicated, in_block(number, "feed_forward/"), shape,
                                                   residual_scale(options));
  }
}

template <class T>
ConstMatrixView<T> Block<T>::forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                                     std::span<const std::int32_t> token_ids, AttentionCache<T>* cache) {
  invariant((cache != nullptr) == (step.continued != nullptr),
            "a cache without sequences to go on with, or these without");
  for (Matrix<T>* buffer : {&out_, &d_branch_}) buffer->resize(x.rows, x.cols);
  if (attention_) attention_forward(values, step, x, cache);
  if (feed_forward_norm_) {
    feed_forward_in_.resize(x.rows, x.cols);
    norm_forward(*feed_forward_norm_, values, step, middle(x), feed_forward_rms_, feed_forward_in_);
  }
  if (moe_) {
    moe_->forward(values, step, feed_forward_in(x), token_ids, out_.view());
  } else {
    const PhaseScope scope(*step.times, Phase::dense);
    dense_->forward(values, step.groups, feed_forward_in(x), out_.view());
  }
  const PhaseScope scope(*step.times, Phase::dense);
  if (feed_forward_norm_) add_rows<T>(step.groups, middle(x), out_.view());
  return out_.view();
}

// m = x + attention(norm(x))
template <class T>
void Block<T>::attention_forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                                 AttentionCache<T>* cache) {
  for (Matrix<T>* buffer : {&attention_in_, &middle_}) buffer->resize(x.rows, x.cols);
  norm_forward(*attention_norm_, values, step, x, attention_rms_, attention_in_);
  const PhaseScope scope(*step.times, Phase::attention);
  if (cache == nullptr) {
    attention_->forward(values, step.groups, attention_in_.view(), attention_tape_, middle_.view());
  } else {
    attention_->forward(values, step.groups, *step.continued, attention_in_.view(), *cache, attention_tape_,
                        middle_.view());
  }
  add_rows<T>(step.groups, x, middle_.view());
}

template <class T>
void Block<T>::backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                        std::span<const std::int32_t> token_ids, double loss_scale, MatrixView<T> d,
                        GroupGradients<T>& gradients) {
  // y = m + feed_forward(norm(m)), or feed_forward(x)
  if (moe_) {
    moe_->backward(values, step, feed_forward_in(x), token_ids, d, loss_scale, d_branch_.view(), gradients);
  } else {
    const PhaseScope scope(*step.times, Phase::dense);
    gradients.add(dense_->parameters(), [&](Index g, ParameterView<T> leaf) {
      dense_->backward(values, step.groups.of(g), feed_forward_in(x), d, T{0}, d_branch_.view(), leaf);
    });
  }
  if (feed_forward_norm_) {
    norm_backward(*feed_forward_norm_, values, step, middle(x), feed_forward_rms_, d, gradients);
  } else {
    const PhaseScope scope(*step.times, Phase::dense);
    parallel_for(step.groups.num_groups, [&](Index g) {
      std::ranges::copy(d_branch_.view().row_block(step.groups.of(g)).flat(),
                        d.row_block(step.groups.of(g)).flat().begin());
    });
  }

  // m = x + attention(norm(x))
  if (!attention_) return;
  {
    const PhaseScope scope(*step.times, Phase::attention);
    attention_->backward(values, step.groups, attention_in_.view(), attention_tape_, d, d_branch_.view(), gradients);
  }
  norm_backward(*attention_norm_, values, step, x, attention_rms_, d, gradients);
}

template <class T>
void Block<T>::norm_forward(const RmsNorm<T>& norm, ParameterView<const T> values, const Step& step,
                            ConstMatrixView<T> x, std::vector<T>& inverse_rms, Matrix<T>& y) {
  const PhaseScope scope(*step.times, Phase::dense);
  inverse_rms.resize(static_cast<std::size_t>(x.rows));
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    norm.forward(values, x.row_block(rows), part(inverse_rms, rows), y.view().row_block(rows));
  });
}

// dx += the gradient through the norm, whose output's gradient is d_branch_.
template <class T>
void Block<T>::norm_backward(const RmsNorm<T>& norm, ParameterView<const T> values, const Step& step,
                             ConstMatrixView<T> x, const std::vector<T>& inverse_rms, MatrixView<T> dx,
                             GroupGradients<T>& gradients) {
  const PhaseScope scope(*step.times, Phase::dense);
  gradients.add(norm.parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range rows = step.groups.of(g);
    const std::span<const T> rms(inverse_rms.data() + rows.begin, static_cast<std::size_t>(rows.size()));
    norm.backward(values, x.row_block(rows), rms, d_branch_.view().row_block(rows), dx.row_block(rows), leaf);
  });
}

template class Block<float>;
template class Block<double>;

}  // namespace conclave::model
