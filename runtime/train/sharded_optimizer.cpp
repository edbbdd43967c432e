// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sharded_optimizer.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/vector_kernels.hpp"

#include <cmath>

namespace conclave::train {
namespace {

constexpr Index block_elements = plan::ReducePlan::block_elements;

template <class T>
std::span<T> part(std::span<T> values, Range range) {
  return values.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

Range relative(Range range, Index origin) { return {range.begin - origin, range.end - origin}; }

}  // namespace

ShardedOptimizer::ShardedOptimizer(const OptimizerOptions& options, model::Model<float>& model,
                                   const model::Ranks& ranks, Index groups_in_pass)
    : options_(options),
      rule_(make_optimizer(options)),
      model_(model),
      ranks_(ranks),
      plan_(model.replicated().size(), groups_in_pass, ranks.communicator->size()),
      pass_gradients_(plan_, ranks.communicator->rank()) {
  const Range slice = plan_.slice_of(ranks.communicator->rank());
  slice_gradient_ = Matrix<float>(1, slice.size());
  own(model.replicated(), slice, part(model.values(), slice), slice_gradient_.flat());
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    for (Index i = 0; i < layer->shard().num_experts(); ++i) {
      const ParameterList& list = layer->shard().parameters(LocalExpertId{i});
      own(list, {0, list.size()}, layer->shard().values(LocalExpertId{i}), layer->shard().gradient(LocalExpertId{i}));
    }
    layer->shard().clear_gradients();
  }
  cut_chunks();
}

void ShardedOptimizer::own(const ParameterList& list, Range range, std::span<float> values, std::span<float> gradient) {
  Owned owned{&list, range, values, gradient, {}};
  for (std::size_t s = 0; s < rule_->states().size(); ++s) owned.states.emplace_back(1, range.size());
  owned_.push_back(std::move(owned));
}

void ShardedOptimizer::cut_chunks() {
  for (std::size_t o = 0; o < owned_.size(); ++o) {
    for (const ParameterEntry& entry : owned_[o].list->entries()) {
      const Range mine = intersection(entry.tensor.range(), owned_[o].range);
      for (Index begin = mine.begin; begin < mine.end;) {
        const Index end = std::min(mine.end, (begin / block_elements + 1) * block_elements);
        chunks_.push_back({o, {begin, end}, entry.decays});
        begin = end;
      }
    }
  }
}

void ShardedOptimizer::end_pass() {
  comm::reduce_scatter<float>(plan_, *ranks_.communicator, *ranks_.exchange, pass_gradients_.partial_sums(),
                              slice_gradient_.flat());
  pass_gradients_.clear();
}

double ShardedOptimizer::update(Index step, double rate) {
  const double norm = gradient_norm();
  if (!std::isfinite(norm)) {
    throw InputError(fmt::format("step {}: the gradient's norm is {}", step, norm),
                     "training has diverged: resume from an earlier checkpoint with a lower learning rate");
  }
  const double scale = options_.clip_norm > 0.0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  parallel_for(static_cast<Index>(chunks_.size()), [&](Index c) {
    const Chunk& chunk = chunks_[static_cast<std::size_t>(c)];
    Owned& owned = owned_[chunk.owned];
    const Range at = relative(chunk.elements, owned.range.begin);
    std::vector<std::span<float>> states;
    states.reserve(owned.states.size());
    for (Matrix<float>& state : owned.states) states.push_back(part(state.flat(), at));
    rule_->apply({rate, chunk.decays ? options_.weight_decay : 0.0, scale, step}, part(owned.values, at),
                 part(std::span<const float>(owned.gradient), at), states);
  });
  comm::all_gather_slices<float>(plan_, *ranks_.communicator, model_.values());
  slice_gradient_.fill(0.0F);
  for (model::MoeLayer<float>* layer : model_.moe_layers()) layer->shard().clear_gradients();
  return norm;
}

// The root of: the sum over the blocks of the replicated parameters, in order, plus the sum over the layers' experts,
// by their global numbers.
double ShardedOptimizer::gradient_norm() const {
  const comm::Communicator& communicator = *ranks_.communicator;
  const Range blocks = plan_.blocks_of(communicator.rank());
  std::vector<double> block_sums(static_cast<std::size_t>(blocks.size()));
  parallel_for(blocks.size(), [&](Index b) {
    const Index begin = b * block_elements;
    const Range elements{begin, std::min(begin + block_elements, slice_gradient_.size())};
    block_sums[static_cast<std::size_t>(b)] = sum_of_squares<float>(part(slice_gradient_.flat(), elements));
  });
  std::vector<double> expert_sums(owned_.size() - 1);
  parallel_for(static_cast<Index>(expert_sums.size()), [&](Index i) {
    const auto at = static_cast<std::size_t>(i);
    expert_sums[at] = sum_of_squares<float>(std::span<const float>(owned_[at + 1].gradient));
  });

  double total = 0.0;
  for (const double sum : communicator.gather_all<double>(block_sums)) total += sum;
  // Gathered by rank, then layer, then the rank's experts; to be added by layer, then expert.
  const std::vector<double> gathered = communicator.gather_all<double>(expert_sums);
  const auto layers = model_.moe_layers();
  std::vector<std::vector<double>> by_expert(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    by_expert[l].resize(static_cast<std::size_t>(layers[l]->map().num_experts()));
  }
  std::size_t next = 0;
  for (Index r = 0; r < communicator.size(); ++r) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      for (const ExpertId e : layers[l]->map().experts_of(RankId{r})) {
        by_expert[l][static_cast<std::size_t>(e.value())] = gathered[next++];
      }
    }
  }
  for (const std::vector<double>& sums : by_expert) {
    for (const double sum : sums) total += sum;
  }
  return std::sqrt(total);
}

std::vector<TensorPart> ShardedOptimizer::parts() {
  const comm::Communicator& communicator = *ranks_.communicator;
  std::vector<TensorPart> parts = value_parts(model_, communicator, plan_.slice_of(communicator.rank()));
  const std::vector<std::string> states = rule_->states();
  const auto add_states = [&](const ParameterList& list, Owned* owned) {
    for (std::size_t s = 0; s < states.size(); ++s) {
      add_parts(fmt::format("/optimizer/{}/", states[s]), list, owned == nullptr ? Range{} : owned->range,
                owned == nullptr ? std::span<float>{} : owned->states[s].flat(), parts);
    }
  };
  auto owned = owned_.begin();
  add_states(model_.replicated(), &*owned++);
  for (model::MoeLayer<float>* layer : model_.moe_layers()) {
    for (Index e = 0; e < layer->map().num_experts(); ++e) {
      const bool mine = layer->map().owner(ExpertId{e}) == communicator.rank();
      add_states(layer->expert_parameters(ExpertId{e}), mine ? &*owned++ : nullptr);
    }
  }
  return parts;
}

void ShardedOptimizer::share_values() {
  comm::all_gather_slices<float>(plan_, *ranks_.communicator, model_.values());
  for (model::MoeLayer<float>* layer : model_.moe_layers()) ranks_.communicator->broadcast(layer->selection_bias());
}

}  // namespace conclave::train
