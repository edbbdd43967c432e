// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/classifier.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::model {
namespace {

constexpr Initial token_initial{.deviation = 0.02};
constexpr Initial head_initial{.deviation = 0.02};  // no class is preferred to begin with

}  // namespace

template <class T>
Classifier<T>::Classifier(const ModelOptions& options, const DataShape& shape, Index seed, const Ranks& ranks)
    : Model<T>(options), shape_(shape) {
  if (shape.features == 0) {
    embedding_.emplace(replicated_, "embedding", shape.vocabulary, options.width, token_initial);
  } else if (options.input_map) {
    const Initial initial{.deviation = 1.0 / std::sqrt(static_cast<double>(shape.features))};
    input_map_.emplace(replicated_, "input_map", shape.features, options.width, initial, Initial{});
  } else if (shape.features != options.width) {
    throw InputError(fmt::format("input_map = no with {} features and width = {}", shape.features, options.width),
                     fmt::format("give --width {}, or leave the map in", shape.features));
  }
  if (options.residual) final_norm_.emplace(replicated_, "final_norm", options.width);
  this->add_blocks(embedding_.has_value(), seed, ranks);
  head_.emplace(replicated_, "head", options.width, shape.classes, head_initial, Initial{});
  this->initialise_values(seed);
}

template <class T>
Range Classifier<T>::samples_of(const Step& step, Index group) const {
  const Index in_group = step.groups.rows / tokens_in_sample();
  return {group * in_group, (group + 1) * in_group};
}

template <class T>
void Classifier<T>::forward_backward(const Step& step, const BatchView<T>& batch, GroupGradients<T>& gradients) {
  const ConstMatrixView<T> x = forward(step, batch);
  const double scale = 1.0 / static_cast<double>(step.num_groups * samples_of(step, 0).size());
  d_.resize(x.rows, x.cols);
  {
    const PhaseScope scope(*step.times, Phase::head);
    if (votes()) {
      voting_.backward(view(), {final_norm_ ? &*final_norm_ : nullptr, &*head_}, step, scale,
                       *this->moe_layers().back(), d_.view(), gradients);
    } else {
      losses_and_gradients(step, batch, scale);
      head_backward(step, batch, x, d_.view(), gradients);
    }
  }
  this->blocks_backward(step, batch.tokens, d_.view(), gradients);
  input_backward(step, batch, d_.view(), gradients);
}

template <class T>
void Classifier<T>::evaluate(const Step& step, const BatchView<T>& batch) {
  forward(step, batch);
  if (!votes()) losses(step, batch);
}

// samples -> blocks -> logits, or the votes and their losses
template <class T>
ConstMatrixView<T> Classifier<T>::forward(const Step& step, const BatchView<T>& batch) {
  check(step, batch);
  step.times->enter_layer(std::nullopt, Direction::forward);
  if (embedding_) {
    this->embed(step, *embedding_, batch.tokens);
  } else if (input_map_) {
    const PhaseScope scope(*step.times, Phase::embedding);
    embedded_.resize(step.groups.total_rows(), options_.width);
    parallel_for(step.groups.num_groups, [&](Index g) {
      const Range rows = step.groups.of(g);
      input_map_->forward(view(), batch.features.row_block(rows), embedded_.view().row_block(rows));
    });
  }
  const ConstMatrixView<T> in = embedding_ || input_map_ ? std::as_const(embedded_).view() : batch.features;
  const ConstMatrixView<T> x = this->blocks_forward(step, in, batch.tokens);
  const PhaseScope scope(*step.times, Phase::head);
  if (!votes()) {
    head_forward(step, batch, x);
    return x;
  }
  const VoteSamples samples{sample_rows(batch), batch.targets, samples_of(step, 0).size()};
  voting_.forward(view(), {final_norm_ ? &*final_norm_ : nullptr, &*head_}, step, samples, x,
                  *this->moe_layers().back());
  group_losses_ = voting_.losses();
  predictions_ = voting_.winners();
  return x;
}

template <class T>
void Classifier<T>::check(const Step& step, const BatchView<T>& batch) const {
  const Index tokens = step.groups.total_rows();
  const Index samples = tokens / tokens_in_sample();
  invariant(step.groups.rows % tokens_in_sample() == 0, "groups of {} tokens, {} a sample", step.groups.rows,
            tokens_in_sample());
  invariant(static_cast<Index>(batch.tokens.size()) == tokens && static_cast<Index>(batch.targets.size()) == samples,
            "{} tokens with {} classes for {} tokens of {} samples", batch.tokens.size(), batch.targets.size(), tokens,
            samples);
  for (const std::int32_t target : batch.targets) {
    invariant(0 <= target && target < shape_.classes, "class {} of {}", target, shape_.classes);
  }
  if (!embedding_) {
    invariant(batch.features.rows == samples && (samples == 0 || batch.features.cols == shape_.features),
              "[{}, {}] features for {} samples of {}", batch.features.rows, batch.features.cols, samples,
              shape_.features);
    return;
  }
  invariant(static_cast<Index>(batch.lengths.size()) == samples, "{} lengths of {} texts", batch.lengths.size(),
            samples);
  for (const std::int32_t length : batch.lengths) {
    invariant(1 <= length && length <= options_.context, "a text of {} tokens in a context of {}", length,
              options_.context);
  }
}

// x -> final norm -> mean over a sample's tokens -> logits
template <class T>
void Classifier<T>::head_forward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> x) {
  const SampleRows rows = sample_rows(batch);
  normed_.resize(x.rows, x.cols);
  final_rms_.resize(static_cast<std::size_t>(x.rows));
  pooled_.resize(x.rows / rows.tokens, x.cols);
  logits_.resize(pooled_.rows(), shape_.classes);
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range tokens = step.groups.of(g);
    const Range samples = samples_of(step, g);
    if (final_norm_) {
      final_norm_->forward(view(), x.row_block(tokens), part(std::span(final_rms_), tokens),
                           normed_.view().row_block(tokens));
    }
    pool(final_norm_ ? std::as_const(normed_).view() : x, rows, samples);
    head_->forward(view(), pooled_.view().row_block(samples), logits_.view().row_block(samples));
  });
  predictions_.resize(static_cast<std::size_t>(logits_.rows()));
  for (Index s = 0; s < logits_.rows(); ++s) {
    const auto row = logits_.row(s);
    predictions_[static_cast<std::size_t>(s)] =
        static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
}

// d = the gradient of the final norm's input, from the logits' gradient in logits_.
template <class T>
void Classifier<T>::head_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> x, MatrixView<T> d,
                                  GroupGradients<T>& gradients) {
  const SampleRows rows = sample_rows(batch);
  d_pooled_.resize(pooled_.rows(), pooled_.cols());
  d_normed_.resize(d.rows, d.cols);
  gradients.add(head_->parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range samples = samples_of(step, g);
    head_->backward(view(), pooled_.view().row_block(samples), logits_.view().row_block(samples), T{0},
                    d_pooled_.view().row_block(samples), leaf);
  });
  parallel_for(step.groups.num_groups,
               [&](Index g) { pool_backward(rows, samples_of(step, g), final_norm_ ? d_normed_.view() : d); });
  if (!final_norm_) return;
  gradients.add(final_norm_->parameters(), [&](Index g, ParameterView<T> leaf) {
    const Range tokens = step.groups.of(g);
    std::ranges::fill(d.row_block(tokens).flat(), T{0});
    final_norm_->backward(view(), x.row_block(tokens), part(std::span<const T>(final_rms_), tokens),
                          d_normed_.view().row_block(tokens), d.row_block(tokens), leaf);
  });
}

// pooled_s = (1 / length) sum over the sample's tokens that count: x_t
template <class T>
void Classifier<T>::pool(ConstMatrixView<T> x, const SampleRows& rows, Range samples) {
  for (Index s = samples.begin; s < samples.end; ++s) {
    const Range tokens = rows.of(s);
    const T share = T{1} / static_cast<T>(tokens.size());
    scaled_copy<T>(share, x.row(tokens.begin), pooled_.row(s));
    for (Index t = tokens.begin + 1; t < tokens.end; ++t) axpy<T>(share, x.row(t), pooled_.row(s));
  }
}

template <class T>
void Classifier<T>::pool_backward(const SampleRows& rows, Range samples, MatrixView<T> dx) const {
  for (Index s = samples.begin; s < samples.end; ++s) {
    const Range tokens = rows.of(s);
    const T share = T{1} / static_cast<T>(tokens.size());
    for (Index t = s * rows.tokens; t < (s + 1) * rows.tokens; ++t) {
      scaled_copy<T>(tokens.contains(t) ? share : T{0}, d_pooled_.row(s), dx.row(t));
    }
  }
}

template <class T>
void Classifier<T>::losses(const Step& step, const BatchView<T>& batch) {
  const PhaseScope scope(*step.times, Phase::head);
  group_losses_.assign(static_cast<std::size_t>(step.groups.num_groups), {});
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range samples = samples_of(step, g);
    group_losses_[static_cast<std::size_t>(g)] =
        cross_entropy<T>(std::as_const(logits_).view().row_block(samples), part(batch.targets, samples));
  });
}

template <class T>
void Classifier<T>::losses_and_gradients(const Step& step, const BatchView<T>& batch, double scale) {
  group_losses_.assign(static_cast<std::size_t>(step.groups.num_groups), {});
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range samples = samples_of(step, g);
    group_losses_[static_cast<std::size_t>(g)] =
        cross_entropy_and_gradient<T>(logits_.view().row_block(samples), part(batch.targets, samples), scale);
  });
}

template <class T>
void Classifier<T>::input_backward(const Step& step, const BatchView<T>& batch, ConstMatrixView<T> d,
                                   GroupGradients<T>& gradients) {
  const PhaseScope scope(*step.times, Phase::embedding);
  if (embedding_) {
    gradients.add(embedding_->parameters(), [&](Index g, ParameterView<T> leaf) {
      const Range rows = step.groups.of(g);
      embedding_->backward(part(batch.tokens, rows), d.row_block(rows), leaf);
    });
  } else if (input_map_) {
    d_features_.resize(d.rows, shape_.features);
    gradients.add(input_map_->parameters(), [&](Index g, ParameterView<T> leaf) {
      const Range rows = step.groups.of(g);
      input_map_->backward(view(), batch.features.row_block(rows), d.row_block(rows), T{0},
                           d_features_.view().row_block(rows), leaf);
    });
  }
}

template class Classifier<float>;
template class Classifier<double>;

}  // namespace conclave::model
