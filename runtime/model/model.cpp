// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/model.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/model/classifier.hpp"
#include "runtime/model/language_model.hpp"

namespace conclave::model {

template <class T>
void Model<T>::add_blocks(bool attention, Index seed, const Ranks& ranks) {
  const Index num_experts = options_.moe_every == 0 ? 0 : options_.router.experts;
  const ExpertMap even = ExpertMap::contiguous(num_experts, ranks.communicator->size());
  for (Index b = 0; b < options_.layers; ++b) {
    const std::size_t moe = moe_layers_.size();  // this layer's, if it is one
    invariant(ranks.placement.empty() || !options_.is_moe(b) || moe < ranks.placement.size(),
              "a placement of {} MoE layers for one more", ranks.placement.size());
    const bool is_placed = !ranks.placement.empty() && options_.is_moe(b);
    const ExpertMap& map = is_placed ? ranks.placement[moe] : even;
    invariant(map.num_experts() == num_experts && map.num_ranks() == ranks.communicator->size(),
              "a placement of {} experts on {} ranks for {} on {}", map.num_experts(), map.num_ranks(), num_experts,
              ranks.communicator->size());
    blocks_.emplace_back(replicated_, BlockPlace{b, attention}, options_, seed, map, ranks);
    if (blocks_.back().moe() != nullptr) moe_layers_.push_back(blocks_.back().moe());
  }
}

template <class T>
void Model<T>::initialise_values(Index seed) {
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
Index Model<T>::num_parameters() const {
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
void Model<T>::embed(const Step& step, const Embedding<T>& embedding, std::span<const std::int32_t> tokens) {
  const PhaseScope scope(*step.times, Phase::embedding);
  embedded_.resize(step.groups.total_rows(), options_.width);
  parallel_for(step.groups.num_groups, [&](Index g) {
    const Range rows = step.groups.of(g);
    embedding.forward(view(), part(tokens, rows), embedded_.view().row_block(rows));
  });
}

template <class T>
ConstMatrixView<T> Model<T>::blocks_forward(const Step& step, ConstMatrixView<T> x,
                                            std::span<const std::int32_t> token_ids, KeyValueCache<T>* cache) {
  block_inputs_.assign(1, x);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    step.times->enter_layer(static_cast<Index>(b), Direction::forward);
    AttentionCache<T>* const of_layer = cache == nullptr ? nullptr : &cache->layer(static_cast<Index>(b));
    block_inputs_.push_back(blocks_[b].forward(view(), step, block_inputs_.back(), token_ids, of_layer));
  }
  step.times->enter_layer(std::nullopt);
  return block_inputs_.back();
}

template <class T>
void Model<T>::blocks_backward(const Step& step, std::span<const std::int32_t> token_ids, MatrixView<T> d,
                               GroupGradients<T>& gradients) {
  for (std::size_t b = blocks_.size(); b-- > 0;) {
    step.times->enter_layer(static_cast<Index>(b), Direction::backward);
    blocks_[b].backward(view(), step, block_inputs_[b], token_ids, 1.0, d, gradients);
  }
  step.times->enter_layer(std::nullopt, Direction::backward);
}

template <class T>
std::unique_ptr<Model<T>> make_model(const ModelOptions& options, const DataShape& shape, Index seed,
                                     const Ranks& ranks) {
  if (shape.classes > 0) return std::make_unique<Classifier<T>>(options, shape, seed, ranks);
  return std::make_unique<LanguageModel<T>>(options, shape.vocabulary, seed, ranks);
}

template class Model<float>;
template class Model<double>;
template std::unique_ptr<Model<float>> make_model(const ModelOptions&, const DataShape&, Index, const Ranks&);
template std::unique_ptr<Model<double>> make_model(const ModelOptions&, const DataShape&, Index, const Ranks&);

}  // namespace conclave::model
