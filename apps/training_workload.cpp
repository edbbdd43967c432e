// SPDX-License-Identifier: BSD-3-Clause
#include "apps/training_workload.hpp"

#include "experts/expert_shard.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/fusion.hpp"
#include "runtime/model/memory_need.hpp"
#include "runtime/train/replicated_run.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

sim::FeedForwardSizes sizes_of(const experts::ExpertShape& shape) {
  const bool is_linear = shape.kind == experts::ExpertKind::linear;
  const Index matrices = is_linear ? 1 : shape.kind == experts::ExpertKind::swiglu ? 3 : 2;
  return {shape.width, is_linear ? shape.width : shape.hidden, matrices,
          experts::expert_parameters({shape}, "", ExpertId{0}).size()};
}

// Elements of the router's matrices: what each token is multiplied by.
Index gate_elements(const model::ModelOptions& o) {
  ParameterList list;
  static_cast<void>(gating::make_router<float>(o.router, 0, o.width, list, ""));
  Index elements = 0;
  for (const ParameterEntry& entry : list.entries()) {
    if (entry.shape.size() >= 2) elements += entry.tensor.size();
  }
  return elements;
}

sim::MoeSizes moe_sizes(const train::TrainOptions& o, Index group_tokens) {
  const gating::RouterOptions& router = o.model.router;
  sim::MoeSizes moe;
  for (const auto& shape : experts::expert_shapes(o.model.experts, o.model.width, router.experts)) {
    moe.experts.push_back(sizes_of(shape));
  }
  for (const auto& shape : experts::shared_shapes(o.model.experts, o.model.width))
    moe.shared.push_back(sizes_of(shape));
  moe.choices = static_cast<double>(router.top_k);
  const bool over_step = router.capacity_scope == gating::CapacityScope::step;
  moe.competing = over_step ? o.tokens_in_step() : group_tokens;
  moe.slots = gating::expert_capacity(router.capacity_formula, router.capacity_factor, moe.choices, moe.competing,
                                      router.experts, router.min_capacity);
  moe.gate_elements = gate_elements(o.model);
  moe.merges_sums = model::is_sum(o.model.fusion);
  return moe;
}

void refuse_unknown(const train::TrainOptions& o) {
  constexpr Index most_layers = 100000;  // each of whose tensors is looked at
  if (o.model.layers > most_layers) {
    throw InputError(fmt::format("layers = {}", o.model.layers),
                     fmt::format("the simulator prices models of up to {} layers", most_layers));
  }
  if (o.task != train::Task::lm) {
    throw InputError(fmt::format("task = {}", name_of(o.task)), "the simulator prices language models: task = lm");
  }
  if (o.model.moe_every > 0 && o.model.experts.expert_sharing != experts::ExpertSharing::none) {
    throw InputError("expert_sharing = base+delta", "the simulator prices experts that share nothing: leave it out");
  }
  train::refuse_teacher(o.distil, "the simulator prices steps without one");
  if (!o.optimizer.freeze.empty()) {
    throw InputError(fmt::format("freeze = {}", fmt::join(o.optimizer.freeze, ",")),
                     "the simulator prices steps in which all parts are trained: leave it out");
  }
}

// Of a block's attention, backward, what comes after the sums of its output's matrix: of flops a token, 4 w w are the
// output's, 12 w w those of queries, keys and values, and five products of w with each of the c/2 tokens before it.
double attention_after_output(const model::ModelOptions& o) {
  const auto width = static_cast<double>(o.width);
  const double heads = 5.0 * static_cast<double>(o.context) * width;
  return (12.0 * width * width + heads) / (16.0 * width * width + heads);
}

// As ShardedOptimizer cuts them. A run is whole with its first parameters, to which backward comes last.
std::vector<sim::ReducedRun> reduced_runs(const model::ModelOptions& o, const model::DataShape& shape) {
  const model::ReplicatedLayout layout = model::replicated_layout(o, shape);
  const Index tied = o.tied_head && shape.classes == 0 ? shape.vocabulary * o.width : 0;
  std::vector<sim::ReducedRun> runs;
  for (const Range run : train::cut_into_runs(layout.list)) {
    sim::ReducedRun& reduced = runs.emplace_back(sim::ReducedRun{.elements = run.size()});
    if (run.begin < tied) continue;  // the embedding's gradient, too, is in a tied head's
    const auto next = std::ranges::upper_bound(layout.blocks, run.begin, {}, &model::ReplicatedLayout::Block::begin);
    const Index begun = next - layout.blocks.begin();
    const bool is_behind = begun == std::ssize(layout.blocks) && run.begin >= layout.end_of_blocks;
    reduced.blocks_after = is_behind ? begun : std::max<Index>(0, begun - 1);
    if (begun == 0 || is_behind) continue;
    const model::ReplicatedLayout::Block& block = layout.blocks[static_cast<std::size_t>(begun - 1)];
    if (run.begin >= block.feed_forward) {
      reduced.attention_after = 1.0;
    } else if (run.begin >= block.attention_out) {
      reduced.attention_after = attention_after_output(o);
    }
  }
  std::ranges::reverse(runs);
  return runs;
}

}  // namespace

sim::Workload training_workload(const train::TrainOptions& o, const model::DataShape& shape) {
  refuse_unknown(o);
  return workload_sizes(o, shape);
}

sim::Workload workload_sizes(const train::TrainOptions& o, const model::DataShape& shape) {
  sim::Workload w{.groups = o.groups,
                  .passes = o.passes,
                  .group_tokens = o.sequences_in_group() * o.tokens_in_sample(),
                  .context = o.model.context,
                  .width = o.model.width,
                  .heads = o.model.heads,
                  .vocabulary = shape.vocabulary,
                  .tied_head = o.model.tied_head,
                  .norms = o.model.residual ? 2 : 1};
  w.moe_blocks = o.model.num_moe_layers();
  w.dense_blocks = o.model.layers - w.moe_blocks;
  w.dense = sizes_of({o.model.dense_kind, o.model.width, o.model.dense_hidden, o.model.experts.expert_bias});
  if (w.moe_blocks > 0) w.moe = moe_sizes(o, w.group_tokens);
  w.replicated_parameters = model::replicated_elements(o.model, shape);
  w.reduced_runs = reduced_runs(o.model, shape);
  w.transport.exchange = o.transport.exchange;
  w.transport.wire_bytes = o.transport.wire == model::Wire::fp32 ? 4.0 : 2.0;
  w.states = std::ssize(train::make_optimizer(o.optimizer)->states());
  w.threads = o.compute.threads > 0 ? o.compute.threads : num_threads();
  w.checkpoint_every = o.checkpoint_every.value_or(0);
  return w;
}

void refuse_router_without_trace(const train::TrainOptions& o) {
  const gating::RouterOptions& router = o.model.router;
  if (o.model.moe_every == 0) return;
  const std::string remedy = "record where tokens go with conclave train --record-routing, and give --routing";
  if (router.router != "topk") {
    throw InputError(fmt::format("router = {} with a made-up popularity of experts", router.router), remedy);
  }
  if (router.overflow == gating::Overflow::reroute) {
    throw InputError("overflow = reroute with a made-up popularity of experts", remedy);
  }
  if (router.second_policy != gating::SecondPolicy::all) {
    throw InputError(
        fmt::format("second_policy = {} with a made-up popularity of experts", name_of(router.second_policy)), remedy);
  }
}

}  // namespace conclave::apps
