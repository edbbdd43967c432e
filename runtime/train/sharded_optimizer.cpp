// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/sharded_optimizer.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/vector_kernels.hpp"
#include "runtime/train/not_finite.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace conclave::train {
namespace {

constexpr Index block_elements = plan::ReducePlan::block_elements;
// What one call updates: long enough to run at the memory's speed, short enough to share a tensor out over threads.
constexpr Index chunk_elements = 16 * block_elements;

template <class T>
std::span<T> part(std::span<T> values, Range range) {
  return values.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
}

Range relative(Range range, Index origin) { return {range.begin - origin, range.end - origin}; }

}  // namespace

ShardedOptimizer::ShardedOptimizer(const OptimizerOptions& options, model::Model<float>& model,
                                   const model::Ranks& ranks, Index groups_in_pass, PhaseTimes& times)
    : options_(options),
      rule_(make_optimizer(options)),
      model_(model),
      ranks_(ranks),
      plan_(model.replicated().size(), groups_in_pass, ranks.communicator->size()),
      pass_gradients_(plan_, ranks.communicator->rank()),
      times_(times) {
  const ReplicatedValues whole{&model.replicated(), model.values()};
  for (const Range run : cut_into_runs(*whole.list)) {
    runs_.emplace_back(whole, run, groups_in_pass, pass_gradients_, ranks);
  }
  num_own_runs_ = runs_.size();
  pass_gradients_.when_summed([this](Range parameters) { cover(parameters); });
  pass_gradients_.while_adding([this] { make_progress(); });
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    if (layer->base().size() == 0) continue;
    runs_.emplace_back(ReplicatedValues{&layer->base(), layer->shard().base_values()}, Range{0, layer->base().size()},
                       layer->map().num_experts(), layer->base_gradients(), ranks);
  }
  for (ReplicatedRun& run : runs_) own(*run.whole().list, run.slice(), run.slice_values(), run.slice_gradient());
  for (model::MoeLayer<float>* layer : model.moe_layers()) {
    for (Index i = 0; i < layer->shard().num_experts(); ++i) {
      if (!layer->shard().is_home(LocalExpertId{i})) continue;
      const ParameterList& list = layer->shard().parameters(LocalExpertId{i});
      own(list, {0, list.size()}, layer->shard().values(LocalExpertId{i}), layer->shard().gradient(LocalExpertId{i}));
    }
    layer->shard().clear_gradients();
  }
  cut_chunks();
  plan_norm();
  refuse_to_train_nothing();
}

void ShardedOptimizer::own(const ParameterList& list, Range range, std::span<float> values, std::span<float> gradient) {
  invariant(rule_->states().size() <= Optimizer::most_states, "{} states a parameter", rule_->states().size());
  Owned owned{&list, range, values, gradient, {}};
  for (std::size_t s = 0; s < rule_->states().size(); ++s) owned.states.emplace_back(1, range.size());
  owned_.push_back(std::move(owned));
}

void ShardedOptimizer::cut_chunks() {
  for (std::size_t o = 0; o < owned_.size(); ++o) {
    for (const ParameterEntry& entry : owned_[o].list->entries()) {
      const Range mine = intersection(entry.tensor.range(), owned_[o].range);
      for (Index begin = mine.begin; begin < mine.end;) {
        const Index end = std::min(mine.end, (begin / chunk_elements + 1) * chunk_elements);
        chunks_.push_back({o, {begin, end}, entry.decays, part_of(o, entry)});
        begin = end;
      }
    }
  }
}

ModelPart ShardedOptimizer::part_of(std::size_t owned, const ParameterEntry& entry) const {
  if (owned >= num_own_runs_) return ModelPart::experts;
  for (const model::MoeLayer<float>* layer : model_.moe_layers()) {
    if (layer->router_parameters().contains(entry.tensor.offset)) return ModelPart::gate;
    if (layer->shared_parameters().contains(entry.tensor.offset)) return ModelPart::experts;
  }
  return ModelPart::dense;
}

// Looks at what all ranks have together: every rank comes to the same result.
void ShardedOptimizer::refuse_to_train_nothing() const {
  const auto is_trained = [&](ModelPart part) { return moves(options_, part, options_.gate_every - 1); };
  const std::vector<ParameterEntry>& entries = model_.replicated().entries();
  const bool any = std::ranges::any_of(entries, [&](const auto& entry) { return is_trained(part_of(0, entry)); });
  if (any || (is_trained(ModelPart::experts) && !model_.moe_layers().empty())) return;
  throw InputError(fmt::format("freeze = {} leaves nothing of this model to train", fmt::join(options_.freeze, ",")),
                   "it has no other parts: leave one of these out");
}

// Backward calls it with the same parameters in the same order on every rank.
void ShardedOptimizer::cover(Range parameters) {
  const PhaseScope scope(times_, Phase::reduce);
  for (std::size_t r = 0; r < num_own_runs_; ++r) runs_[r].cover(parameters);
}

// Backward comes to the last runs first. MPI moves large messages only while it is called, but those of all runs then.
// No phase of its own: a rank calls this as often as it has groups, and ranks pass the same places.
void ShardedOptimizer::make_progress() {
  for (std::size_t r = num_own_runs_; r-- > 0;) {
    if (runs_[r].is_waiting()) return;
  }
}

void ShardedOptimizer::end_pass() {
  for (ReplicatedRun& run : runs_) run.finish(times_);
  pass_gradients_.clear();
  for (model::MoeLayer<float>* layer : model_.moe_layers()) {
    if (layer->base().size() > 0) layer->base_gradients().clear();
  }
}

UpdateOutcome ShardedOptimizer::update(Index step, double rate, const SkippedSteps& skipped, bool is_sound) {
  forget_what_stays(step);
  const UpdateOutcome outcome = weigh_gradients(is_sound);
  if (!outcome.is_done) return outcome;
  const double norm = outcome.gradient_norm;
  const double scale = options_.clip_norm > 0.0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  std::array<Index, enum_names(ModelPart{}).size()> updates{};  // that a part has had
  for (const auto& [part, name] : enum_names(ModelPart{})) {
    updates[static_cast<std::size_t>(part)] =
        updates_before(options_, part, step) -
        skipped.count(step, [&, part = part](Index skip) { return moves(options_, part, skip - 1); });
  }
  has_finite_values_ = true;
  parallel_for(static_cast<Index>(chunks_.size()), [&](Index c) {
    const Chunk& chunk = chunks_[static_cast<std::size_t>(c)];
    if (moves(options_, chunk.part, step)) {
      apply(chunk,
            {rate, chunk.decays ? options_.weight_decay : 0.0, scale, updates[static_cast<std::size_t>(chunk.part)]});
    }
  });
  for (model::MoeLayer<float>* layer : model_.moe_layers()) layer->shard().clear_gradients();
  const PhaseScope scope(times_, Phase::wait, "parameters");
  share_whole();
  return outcome;
}

void ShardedOptimizer::apply(const Chunk& chunk, const Update& update) {
  Owned& owned = owned_[chunk.owned];
  const Range at = relative(chunk.elements, owned.range.begin);
  std::array<std::span<float>, Optimizer::most_states> states;
  for (std::size_t s = 0; s < owned.states.size(); ++s) states[s] = part(owned.states[s].flat(), at);
  const std::span<float> gradient = part(owned.gradient, at);
  rule_->apply(update, part(owned.values, at), gradient, std::span(states).first(owned.states.size()));
  if (!is_finite(part(owned.values, at))) has_finite_values_ = false;
  // The next step adds to the slices' gradients. Here they are in the cache; a pass of its own would fetch them again.
  if (chunk.owned < runs_.size()) std::ranges::fill(gradient, 0.0F);
}

// A gradient that moves nothing is as none.
void ShardedOptimizer::forget_what_stays(Index step) {
  for (const Chunk& chunk : chunks_) {
    if (moves(options_, chunk.part, step)) continue;
    const Owned& owned = owned_[chunk.owned];
    std::ranges::fill(part(owned.gradient, relative(chunk.elements, owned.range.begin)), 0.0F);
  }
}

void ShardedOptimizer::forget_gradients() {
  for (std::size_t o = 0; o < runs_.size(); ++o) std::ranges::fill(owned_[o].gradient, 0.0F);
  for (model::MoeLayer<float>* layer : model_.moe_layers()) layer->shard().clear_gradients();
}

// The norm is the root of: the sum over the blocks of the replicated parameters, in order, plus the sum over the
// experts, by layer, then by their global numbers. A rank has those of the blocks of its slices, then of its experts.
void ShardedOptimizer::plan_norm() {
  for (const ReplicatedRun& run : runs_) {
    const std::span<const float> slice = run.slice_gradient();
    for (Index begin = 0; begin < std::ssize(slice); begin += block_elements) {
      squared_.push_back(part(slice, {begin, std::min(begin + block_elements, std::ssize(slice))}));
    }
  }
  for (std::size_t o = runs_.size(); o < owned_.size(); ++o) squared_.emplace_back(owned_[o].gradient);

  const auto layers = model_.moe_layers();
  std::vector<std::vector<Index>> of_blocks(runs_.size());
  std::vector<std::vector<Index>> of_experts(layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    of_experts[l].resize(static_cast<std::size_t>(layers[l]->map().num_experts()));
  }
  Index next = 0;
  for (RankId rank; rank < RankId{ranks_.communicator->size()}; ++rank) {
    const Index begin = next++;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      for (Index i = 0; i < runs_[r].plan().blocks_of(rank).size(); ++i) of_blocks[r].push_back(next++);
    }
    for (std::size_t l = 0; l < layers.size(); ++l) {
      for (const ExpertId e : layers[l]->map().owned_by(rank)) {
        of_experts[l][static_cast<std::size_t>(e.value())] = next++;
      }
    }
    sums_of_rank_.push_back({begin, next});
  }
  sums_.resize(static_cast<std::size_t>(next));
  for (const auto* all : {&of_blocks, &of_experts}) {
    for (const std::vector<Index>& sums : *all) order_of_sums_.insert(order_of_sums_.end(), sums.begin(), sums.end());
  }
}

// 4 bytes an element, then one message for all sums, and for what ranks know that makes the step unsound.
UpdateOutcome ShardedOptimizer::weigh_gradients(bool is_sound) {
  const std::span<double> own =
      part(std::span(sums_), sums_of_rank_[static_cast<std::size_t>(ranks_.communicator->rank().value())]);
  own.front() = is_sound ? 0.0 : 1.0;
  parallel_for(std::ssize(squared_), [&](Index i) {
    own[static_cast<std::size_t>(i) + 1] = sum_of_squares<float>(squared_[static_cast<std::size_t>(i)]);
  });
  {
    const PhaseScope scope(times_, Phase::wait, "norm of the gradient");
    ranks_.communicator->gather_all_in_place<double>(sums_, sums_of_rank_);
  }
  double total = 0.0;
  for (const Index at : order_of_sums_) total += sums_[static_cast<std::size_t>(at)];
  const double norm = std::sqrt(total);
  const bool all_sound = std::ranges::all_of(
      sums_of_rank_, [&](Range sums) { return sums_[static_cast<std::size_t>(sums.begin)] == 0.0; });
  return {norm, all_sound && std::isfinite(norm)};
}

// What this rank owns of each of replicated_values(): one slice a run.
std::vector<std::vector<Range>> ShardedOptimizer::slices() const {
  std::vector<std::vector<Range>> slices(1);
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    if (r >= num_own_runs_) slices.emplace_back();
    slices.back().push_back(runs_[r].slice());
  }
  return slices;
}

// A part for every tensor and array, each array's name in front of the tensor's.
void ShardedOptimizer::add_owned(const std::vector<std::pair<std::string, ArrayOf>>& arrays,
                                 std::vector<TensorPart>& parts) {
  // Of the tensors of a list, as far as the next `count` of owned_ have them.
  auto owned = owned_.begin();
  const auto add = [&](const ParameterList& list, std::size_t count) {
    const auto end = owned + static_cast<std::ptrdiff_t>(count);
    for (const auto& [group, array_of] : arrays) {
      std::vector<HeldValues> held;
      for (auto o = owned; o != end; ++o) held.push_back({o->range, array_of(*o)});
      add_parts(group, list, held, parts);
    }
    owned = end;
  };
  for (const auto& of_array : slices()) add(*owned->list, of_array.size());
  for (model::MoeLayer<float>* layer : model_.moe_layers()) {
    for (Index e = 0; e < layer->map().num_experts(); ++e) {
      const bool mine = layer->map().owner(ExpertId{e}) == ranks_.communicator->rank();
      add(layer->expert_parameters(ExpertId{e}), mine ? 1 : 0);
    }
  }
}

std::vector<TensorPart> ShardedOptimizer::parts() {
  std::vector<TensorPart> parts = value_parts(model_, *ranks_.communicator, slices());
  const std::vector<std::string> states = rule_->states();
  std::vector<std::pair<std::string, ArrayOf>> arrays;
  for (std::size_t s = 0; s < states.size(); ++s) {
    arrays.emplace_back(fmt::format("/optimizer/{}/", states[s]), [s](Owned& owned) { return owned.states[s].flat(); });
  }
  add_owned(arrays, parts);
  return parts;
}

std::vector<TensorPart> ShardedOptimizer::gradients() {
  std::vector<TensorPart> parts;
  add_owned({{"", [](Owned& owned) { return owned.gradient; }}}, parts);
  return parts;
}

// What ranks other than those who update it have too.
void ShardedOptimizer::share_whole() {
  for (ReplicatedRun& run : runs_) run.share_values();
  for (model::MoeLayer<float>* layer : model_.moe_layers()) layer->share_values();
}

void ShardedOptimizer::share_values() {
  share_whole();
  for (model::MoeLayer<float>* layer : model_.moe_layers()) ranks_.communicator->broadcast(layer->selection_bias());
}

}  // namespace conclave::train
