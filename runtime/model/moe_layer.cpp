// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/moe_layer.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/core/scratch.hpp"
#include "runtime/core/span_recorder.hpp"
#include "runtime/core/vector_kernels.hpp"
#include "runtime/model/step_capacity.hpp"

namespace conclave::model {
namespace {

// What the experts have in common. Its gradient is summed over experts as others are over groups: a rank has a
// contiguous even share of them.
ParameterList base_of(const MoeShape& shape, const std::string& prefix, const ExpertMap& map) {
  if (shape.experts.empty() || shape.experts.front().delta_rank == 0) return {};
  invariant(std::ranges::all_of(shape.experts, [&](const auto& s) { return s == shape.experts.front(); }),
            "experts of different shapes share a base");
  const ExpertMap contiguous = ExpertMap::contiguous(map.num_experts(), map.num_ranks());
  for (ExpertId e; e < ExpertId{map.num_experts()}; ++e) {
    if (map.hosts(e).size() > 1) {
      throw InputError(
          fmt::format("expert_sharing = base+delta with expert {} on {} ranks", e.value(), map.hosts(e).size()),
          "experts that share a base have one host each: use no replicas, or expert_sharing = none");
    }
    if (map.owner(e) == contiguous.owner(e)) continue;
    throw InputError(fmt::format("expert_sharing = base+delta with expert {} on rank {} instead of rank {}", e.value(),
                                 map.owner(e).value(), contiguous.owner(e).value()),
                     "experts that share a base stay in contiguous even shares: use no other placement, or "
                     "expert_sharing = none");
  }
  return experts::base_parameters(shape.experts.front(), prefix + "base/", shape.output_scale);
}

}  // namespace

template <class T>
MoeLayer<T>::MoeLayer(ParameterList& replicated, const std::string& prefix, MoeShape shape, Index seed, Index layer,
                      const ExpertMap& map, const Ranks& ranks)
    : shape_(std::move(shape)),
      prefix_(prefix),
      layer_(layer),
      map_(map),
      ranks_(ranks),
      router_parameters_{replicated.size(), replicated.size()},
      router_(gating::make_router<T>(shape_.router, seed, shape_.width, replicated, prefix)),
      base_(base_of(shape_, prefix, map)),
      base_plan_(base_.size(), map.num_experts(), map.num_ranks()),
      shard_(shape_.experts, map.hosted_by(ranks.communicator->rank()), prefix + "expert/", shape_.output_scale, base_,
             shape_.block_rows),
      replica_traffic_(map_, shard_, *ranks.communicator, layer),
      waves_(map_, ranks.waves),
      expert_x_(*ranks.exchange, prefix + "x", ranks.wire, waves_.size()),
      results_(*ranks.exchange, prefix + "results", ranks.wire, waves_.size()),
      d_expert_y_(*ranks.exchange, prefix + "d_results", ranks.wire, waves_.size()),
      weights_(*ranks.exchange, prefix + "weights", Wire::fp32, waves_.size()),
      d_copies_(*ranks.exchange, prefix + "dx", ranks.wire, waves_.size()),
      host_shares_(map_, shape_.block_rows) {
  router_parameters_.end = replicated.size();
  for (std::size_t i = 0; i < shape_.shared.size(); ++i) {
    shared_.emplace_back(replicated, fmt::format("{}shared/{:04}/", prefix, i), shape_.shared[i], shape_.output_scale);
  }
  initialise<T>(base_, {0, base_.size()}, seed, shard_.base_values());
  if (shape_.router.selection_bias) selection_bias_.assign(static_cast<std::size_t>(shape_.router.experts), T{0});
}

template <class T>
void MoeLayer<T>::forward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                          std::span<const std::int32_t> token_ids, MatrixView<T> y) {
  {
    const PhaseScope scope(*step.times, Phase::gate);
    route(values, step, x, token_ids);
    lay_out_rows(step);
  }
  {
    const PhaseScope scope(*step.times, Phase::dispatch);
    tell_counts(step);
    for (Index wave = 0; wave < waves_.size(); ++wave) {
      expert_x_.open(wave, traffic_.dispatch(wave), shape_.width, tokens_sent(wave));
      gather_rows(wave, x);
      expert_x_.send(wave);
    }
    // Where results go is known: then no rank waits for that when it has them.
    for (Index wave = 0; wave < waves_.size(); ++wave) results_.open(wave, traffic_.combine(wave), shape_.width);
  }
  for (Index wave = 0; wave < waves_.size(); ++wave) forward_wave(wave, step);
  leave_waves(step);
  {
    const PhaseScope scope(*step.times, Phase::combine);
    for (Index wave = 0; wave < waves_.size(); ++wave) results_.wait(wave, Phase::combine, *step.times);
    combine(step.groups, y);
  }
  const PhaseScope scope(*step.times, Phase::dense);
  add_shared(values, step.groups, x, y);
}

template <class T>
void MoeLayer<T>::backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                           std::span<const std::int32_t> token_ids, ConstMatrixView<T> dy, double loss_scale,
                           MatrixView<T> dx, GroupGradients<T>& gradients) {
  {
    const PhaseScope scope(*step.times, Phase::combine);
    combine_backward(step.groups, dy);
    for (Index wave = 0; wave < waves_.size(); ++wave) {
      if (is_sum(shape_.fusion)) weights_.send(wave);
      d_expert_y_.send(wave);
    }
    for (Index wave = 0; wave < waves_.size(); ++wave) d_copies_.open(wave, traffic_.combine(wave), shape_.width);
  }
  for (Index wave = 0; wave < waves_.size(); ++wave) backward_wave(wave, step);
  leave_waves(step);
  base_backward();
  {
    const PhaseScope scope(*step.times, Phase::reduce);
    replica_traffic_.start_sums();
  }
  {
    // every copy of x_t that travelled brings a gradient back: dx_t = their sum, in choice order
    const PhaseScope scope(*step.times, Phase::dispatch);
    for (Index wave = 0; wave < waves_.size(); ++wave) d_copies_.wait(wave, Phase::dispatch, *step.times);
    gather_backward(step.groups, dx);
  }
  {
    const PhaseScope scope(*step.times, Phase::gate);
    route_backward(values, step, x, token_ids, loss_scale, dx, gradients);
  }
  {
    const PhaseScope scope(*step.times, Phase::dense);
    for (DenseFeedForward<T>& expert : shared_) {
      gradients.add(expert.parameters(), [&](Index g, ParameterView<T> leaf) {
        expert.backward(values, step.groups.of(g), x, dy, T{1}, dx, leaf);
      });
    }
  }
  const PhaseScope scope(*step.times, Phase::reduce);
  replica_traffic_.finish_sums(*step.times);
}

// The experts of a wave, once their rows are there; the other waves' rows and results travel meanwhile.
template <class T>
void MoeLayer<T>::forward_wave(Index wave, const Step& step) {
  const PhaseScope scope(*step.times, Phase::experts);
  const Range experts = waves_.experts_of(ranks_.communicator->rank(), wave);
  enter_wave(wave, step);
  expert_x_.wait(wave, Phase::dispatch, *step.times);
  if (wave == 0) begin_experts();
  shard_.forward(experts, expert_x_.arrived(wave), results_.outgoing(wave), [&] { poll(); });
  results_.send(wave);
}

// The gradients of the copies of x leave before the weights' gradients are taken.
template <class T>
void MoeLayer<T>::backward_wave(Index wave, const Step& step) {
  const PhaseScope scope(*step.times, Phase::experts);
  const Range experts = waves_.experts_of(ranks_.communicator->rank(), wave);
  enter_wave(wave, step);
  d_expert_y_.wait(wave, Phase::combine, *step.times);
  if (is_sum(shape_.fusion)) {
    weights_.wait(wave, Phase::combine, *step.times);
    scale_d_results(wave);
  }
  const ConstMatrixView<T> dy = d_expert_y_.arrived(wave);
  shard_.backward_input(experts, dy, d_copies_.outgoing(wave), [&] { poll(); });
  d_copies_.send(wave);
  shard_.backward_weights(experts, expert_x_.arrived(wave), dy, [&] { poll(); });
}

// For traces.
template <class T>
void MoeLayer<T>::enter_wave(Index wave, const Step& step) const {
  SpanRecorder* const recorder = step.times->recorder();
  if (recorder == nullptr) return;
  const std::vector<ExpertId>& mine = map_.experts_of(ranks_.communicator->rank());
  const Range experts = waves_.experts_of(ranks_.communicator->rank(), wave);
  std::vector<Index> numbers;
  for (Index i = experts.begin; i < experts.end; ++i) numbers.push_back(mine[static_cast<std::size_t>(i)].value());
  recorder->enter_wave(wave, std::move(numbers), traffic_.dispatch(wave).total_received());
}

template <class T>
void MoeLayer<T>::leave_waves(const Step& step) const {
  if (step.times->recorder() != nullptr) step.times->recorder()->leave_wave();
}

// The base's gradient: the sum over experts of the products of their rows.
template <class T>
void MoeLayer<T>::base_backward() {
  if (base_.size() == 0) return;
  base_gradients().add({0, base_.size()}, [&](Index i, ParameterView<T> leaf) {
    Index wave = 0;
    while (waves_.experts_of(ranks_.communicator->rank(), wave).end <= i) ++wave;
    shard_.backward_base(waves_.experts_of(ranks_.communicator->rank(), wave), LocalExpertId{i},
                         expert_x_.arrived(wave), d_expert_y_.arrived(wave), leaf);
  });
}

template <class T>
void MoeLayer<T>::route_backward(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                                 std::span<const std::int32_t> token_ids, double loss_scale, MatrixView<T> dx,
                                 GroupGradients<T>& gradients) const {
  const gating::LossCotangent losses{loss_scale * shape_.router.c_balance, loss_scale * shape_.router.c_z,
                                     loss_scale * shape_.router.c_importance, step.num_groups, step_counts_};
  gradients.add(router_parameters_, [&](Index g, ParameterView<T> leaf) {
    const Range group = step.groups.of(g);
    const Index first_choice = plan_.choices_of(group.begin).begin;
    const std::span<const T> d_gates =
        std::span<const T>(d_gates_).subspan(static_cast<std::size_t>(first_choice), routed(g).routing.kept().size());
    router_->backward(values, router_input(step, x, token_ids, g), routed(g), d_gates, losses, dx.row_block(group),
                      leaf);
  });
}

template <class T>
GroupGradients<T>& MoeLayer<T>::base_gradients() {
  if (!base_gradients_) base_gradients_.emplace(base_plan_, ranks_.communicator->rank());
  return *base_gradients_;
}

template <class T>
ParameterList MoeLayer<T>::expert_parameters(ExpertId expert) const {
  return experts::expert_parameters(shape_.experts, prefix_ + "expert/", expert);
}

template <class T>
void MoeLayer<T>::route(ParameterView<const T> values, const Step& step, ConstMatrixView<T> x,
                        std::span<const std::int32_t> token_ids) {
  while (static_cast<Index>(tapes_.size()) < step.groups.num_groups) tapes_.push_back(router_->make_tape());
  const auto input = [&](Index g) { return router_input(step, x, token_ids, g); };
  const auto tape = [&](Index g) -> gating::RouterTape<T>& { return *tapes_[static_cast<std::size_t>(g)]; };
  if (shape_.router.capacity_scope == gating::CapacityScope::group) {
    parallel_for(step.groups.num_groups, [&](Index g) { router_->route(values, input(g), tape(g)); });
  } else {
    parallel_for(step.groups.num_groups, [&](Index g) { router_->choose(values, input(g), tape(g)); });
    serve_over_step<T>(*ranks_.communicator, step, *router_, tapes_);
    parallel_for(step.groups.num_groups, [&](Index g) { router_->settle(input(g), tape(g)); });
  }
  count_claims_of_step(step);
}

template <class T>
gating::RouterInput<T> MoeLayer<T>::router_input(const Step& step, ConstMatrixView<T> x,
                                                 std::span<const std::int32_t> token_ids, Index group) const {
  const Range rows = step.groups.of(group);
  const auto tokens = [&](std::span<const std::int32_t> all) {
    return all.subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
  };
  return {x.row_block(rows), tokens(token_ids),       step.domains.empty() ? step.domains : tokens(step.domains),
          selection_bias_,   step.first_token(group), layer_,
          step.number,       step.training,           step.notes_not_finite};
}

// a row for each kept choice, in sending order
template <class T>
void MoeLayer<T>::lay_out_rows(const Step& step) {
  Scratch scratch;
  const auto routings = scratch.values<const gating::Routing<T>*>(step.groups.num_groups);
  for (Index g = 0; g < std::ssize(routings); ++g) routings[static_cast<std::size_t>(g)] = &routed(g).routing;
  const std::span<Index> claims = scratch.values<Index>(map_.num_experts());
  gating::count_claims<T>(routings, claims);
  {
    const PhaseScope scope(*step.times, Phase::wait, "claims");
    host_shares_.update(*ranks_.communicator, claims);
  }
  const auto runs = scratch.values<gating::ClaimRun>(std::ssize(waves_.order()));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const HostedExpert& hosted = waves_.order()[i];
    const Range rows = host_shares_.rows_for(hosted.id, hosted.host);
    runs[i] = {hosted.id, rows.begin, rows.size()};
  }
  plan_.template assign<T>(routings, map_.num_experts(), runs);
}

// A host has to know how many rows its experts get everywhere: by that they are cut.
template <class T>
void MoeLayer<T>::begin_experts() {
  rows_of_experts_ = traffic_.rows_per_local_expert();
  const std::vector<ExpertId>& mine = map_.experts_of(ranks_.communicator->rank());
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (map_.hosts(mine[i]).size() > 1) rows_of_experts_[i] = host_shares_.rows_of_replicated(mine[i]);
  }
  shard_.begin(rows_of_experts_);
}

// Counted claims over the step, on every rank; empty where the balance loss looks at each group by itself.
template <class T>
void MoeLayer<T>::count_claims_of_step(const Step& step) {
  step_counts_.clear();
  if (shape_.router.balance_scope == gating::BalanceScope::group) return;
  invariant(step.num_groups == step.num_groups_in_pass,
            "the balance over a step of {} groups, of which a pass shows {}", step.num_groups, step.num_groups_in_pass);
  step_counts_.assign(static_cast<std::size_t>(shape_.router.experts), 0);
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    for (std::size_t e = 0; e < step_counts_.size(); ++e) step_counts_[e] += routed(g).balance.counted[e];
  }
  const PhaseScope scope(*step.times, Phase::wait, "claims");
  ranks_.communicator->sum(step_counts_);
}

// MPI moves large messages only while it is called.
template <class T>
void MoeLayer<T>::poll() {
  for (WaveInboxes<T>* inboxes : {&expert_x_, &results_, &d_expert_y_, &weights_, &d_copies_}) inboxes->poll();
  replica_traffic_.poll();
}

template <class T>
void MoeLayer<T>::tell_counts(const Step& step) {
  const PhaseScope scope(*step.times, Phase::wait, "counts");
  traffic_.update(*ranks_.communicator, waves_, plan_.rows_per_expert());
}

// The tokens that a wave's rows are copies of.
template <class T>
std::span<const Index> MoeLayer<T>::tokens_sent(Index wave) const {
  const Range rows = traffic_.rows_sent(wave);
  return std::span(plan_.tokens_of_rows())
      .subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size()));
}

// a copy of x_t for each of its experts of a wave, in sending order
template <class T>
void MoeLayer<T>::gather_rows(Index wave, ConstMatrixView<T> x) {
  const ScatteredRows<T> copies = expert_x_.outgoing(wave);
  const Index first_row = traffic_.rows_sent(wave).begin;
  parallel_for_rows(copies.rows(), [&](Index row) {
    if (copies.wants(row)) std::ranges::copy(x.row(plan_.token_of_row(first_row + row)), copies.row(row).begin());
  });
}

// y_t = what fusion makes of g_{t,j} and f_{e_j}(x_t)
template <class T>
void MoeLayer<T>::combine(const GroupRows& groups, MatrixView<T> y) {
  gates_.clear();
  for (Index g = 0; g < groups.num_groups; ++g) {
    for (const auto& kept : routed(g).routing.kept()) gates_.push_back(kept.gate);
  }
  parallel_for(groups.num_groups, [&](Index g) { fuse<T>(shape_.fusion, results(), groups.of(g), y); });
}

// gradients of the kept choices' results, in sending order, and of their gates
template <class T>
void MoeLayer<T>::combine_backward(const GroupRows& groups, ConstMatrixView<T> dy) {
  if (shape_.fusion == Fusion::vote) return;  // they stand there: vote_gradients()
  const ResultGradients<T> d_results = open_d_results();
  parallel_for(groups.num_groups,
               [&](Index g) { fuse_backward<T>(shape_.fusion, results(), groups.of(g), dy, d_results); });
}

// Of a sum, dy_t travels as x_t does, and its copies are scaled where they arrive.
template <class T>
ResultGradients<T> MoeLayer<T>::open_d_results() {
  const bool are_copies = is_sum(shape_.fusion);
  for (Index wave = 0; wave < waves_.size(); ++wave) {
    d_expert_y_.open(wave, traffic_.dispatch(wave), shape_.width,
                     are_copies ? comm::Sources(tokens_sent(wave)) : std::nullopt);
    if (are_copies) weights_.open(wave, traffic_.dispatch(wave), 1);
  }
  d_gates_.resize(gates_.size());
  return {d_expert_y_.outgoing(), are_copies ? weights_.outgoing() : ScatteredRows<T>{}, d_gates_};
}

// the gradient of g_{t,j} f_{e_j}(x_t) with respect to f: g_{t,j} dy_t
template <class T>
void MoeLayer<T>::scale_d_results(Index wave) {
  const MatrixView<T> d_results = d_expert_y_.arrived(wave);
  const ConstMatrixView<T> weights = std::as_const(weights_).arrived(wave);
  parallel_for_rows(d_results.rows,
                    [&](Index row) { scaled_copy<T>(weights(row, 0), d_results.row(row), d_results.row(row)); });
}

template <class T>
ResultGradients<T> MoeLayer<T>::vote_gradients() {
  invariant(shape_.fusion == Fusion::vote, "the votes of a layer whose results are fused ({})", name_of(shape_.fusion));
  return open_d_results();
}

// dx_t = the sum of what its copies brought back, in choice order
template <class T>
void MoeLayer<T>::gather_backward(const GroupRows& groups, MatrixView<T> dx) {
  const ScatteredRows<const T> d_copies = d_copies_.arrived();
  parallel_for(groups.num_groups, [&](Index g) {
    for (Index t = groups.of(g).begin; t < groups.of(g).end; ++t) {
      const Range choices = plan_.choices_of(t);
      std::fill_n(dx.row(t).data(), shape_.width, T{0});
      for (Index c = choices.begin; c < choices.end; ++c) {
        axpy<T>(T{1}, d_copies.row(plan_.row_of_choice(c)), dx.row(t));
      }
    }
  });
}

// y_t += f(x_t) of every shared expert
template <class T>
void MoeLayer<T>::add_shared(ParameterView<const T> values, const GroupRows& groups, ConstMatrixView<T> x,
                             MatrixView<T> y) {
  for (DenseFeedForward<T>& expert : shared_) {
    shared_y_.resize(groups.total_rows(), shape_.width);
    expert.forward(values, groups, x, shared_y_.view());
    add_rows<T>(groups, shared_y_.view(), y);
  }
}

template class MoeLayer<float>;
template class MoeLayer<double>;

}  // namespace conclave::model
