// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_work.hpp"

#include "runtime/core/error.hpp"

#include <cmath>

namespace conclave::sim {
namespace {

// Rows that one call of the experts takes, and rows and columns that one of attention's does (experts/expert_shard.hpp,
// runtime/model/attention_head.hpp); the optimizer's elements of a call (runtime/train/sharded_optimizer.cpp).
constexpr double expert_block_rows = 768.0;
constexpr double attention_block = 64.0;
constexpr double update_chunk = 65536.0;

// A group's gradient of a parameter is a leaf: cleared, added to (read and written), and taken into the tree's sum (two
// reads, a write).
constexpr double leaf_accesses = 6.0;

Work leaf(double groups, double parameters) {
  return {2.0 * groups, 0.0, element_bytes * leaf_accesses * groups * parameters};
}

// y = x W^T and its backward: 2 rows elements forward, as many for each gradient. Rows are read and written once each
// way for each gradient; W is read twice a call.
Work products(double groups, double rows, double inputs, double outputs) {
  const double elements = inputs * outputs;
  return {3.0 * groups, 6.0 * rows * elements,
          element_bytes * (3.0 * rows * (inputs + outputs) + 2.0 * groups * elements)};
}

// A group's feed-forward and its leaf. Hidden activations are read and written by the function between the matrices.
Work feed_forward(const FeedForwardSizes& f, double groups, double rows) {
  const auto width = static_cast<double>(f.width);
  const auto hidden = static_cast<double>(f.hidden);
  Work work = products(groups, rows, width, hidden).scaled(static_cast<double>(f.matrices));
  work.flops = 6.0 * rows * f.multiplied();
  work.bytes += element_bytes * 4.0 * rows * hidden;
  work.calls += 2.0 * groups;
  return work + leaf(groups, static_cast<double>(f.parameters));
}

// Hidden values of a row that are kept: before the function and after it, and a gate.
double tape_columns(const FeedForwardSizes& f) {
  return static_cast<double>(f.matrices == 1 ? 0 : f.matrices) * static_cast<double>(f.hidden);
}

// Of a norm: its input read and written, and in backward three reads and a write.
Work norm(double groups, double rows, double width) { return {2.0 * groups, 0.0, element_bytes * 6.0 * rows * width}; }

Work attention(const Workload& w, double groups, double rows) {
  const auto width = static_cast<double>(w.width);
  const auto context = static_cast<double>(w.context);
  Work work = products(groups, rows, width, 3.0 * width) + products(groups, rows, width, width);
  work += leaf(groups, 4.0 * width * width);
  // Scores and their products with values: 4 flops a feature and pair of a token with an earlier one or itself, and
  // twice that in backward.
  work.flops += 12.0 * width * rows * 0.5 * (context + 1.0);
  // Queries, keys and values, the results and all their gradients, read and written.
  work.bytes += element_bytes * 20.0 * rows * width;
  const double heads = rows / context * static_cast<double>(w.heads);
  const double blocks = std::ceil(context / attention_block);
  work.calls += heads * 7.0 * 0.5 * blocks * (blocks + 1.0);  // 2 products a pair of blocks, 5 in backward
  work.elements += rows * static_cast<double>(w.heads) * 0.5 * (context + 1.0);  // scores, of each an exponential
  return work;
}

}  // namespace

PhaseWork& operator+=(PhaseWork& a, const PhaseWork& b) {
  for (std::size_t p = 0; p < num_phases; ++p) a[p] += b[p];
  return a;
}

PhaseWork scaled(PhaseWork work, double times) {
  for (Work& of_phase : work) of_phase = of_phase.scaled(times);
  return work;
}

PhaseWork outside_work(const Workload& w, Index num_groups) {
  const auto groups = static_cast<double>(num_groups);
  const double rows = groups * static_cast<double>(w.group_tokens);
  const auto width = static_cast<double>(w.width);
  const auto vocabulary = static_cast<double>(w.vocabulary);
  PhaseWork work{};
  if (num_groups == 0) return work;
  of(work, Phase::data) = {1.0, 0.0, 8.0 * rows};
  // The table's rows looked up, and its leaf; a tied head's gradient is taken here.
  const Work head = products(groups, rows, width, vocabulary);
  const double table_leaf_flops = w.tied_head ? head.flops / 3.0 : 0.0;
  of(work, Phase::embedding) =
      Work{2.0 * groups, table_leaf_flops, element_bytes * 4.0 * rows * width} + leaf(groups, vocabulary * width);
  of(work, Phase::head) = head + norm(groups, rows, width);
  of(work, Phase::head).flops -= table_leaf_flops;
  if (!w.tied_head) of(work, Phase::head) += leaf(groups, vocabulary * width);
  of(work, Phase::other) = {static_cast<double>(w.moe_blocks), 0.0,
                            16.0 * groups * static_cast<double>(w.moe_blocks * w.moe.num_experts())};
  return work;
}

PhaseWork block_work(const Workload& w, Index num_groups, bool has_experts) {
  const auto groups = static_cast<double>(num_groups);
  const double rows = groups * static_cast<double>(w.group_tokens);
  const auto width = static_cast<double>(w.width);
  PhaseWork work{};
  if (num_groups == 0) return work;
  of(work, Phase::attention) = attention(w, groups, rows);
  // Norms, and a branch added to its input.
  of(work, Phase::dense) = norm(groups, rows, width).scaled(static_cast<double>(w.norms)) +
                           Work{groups, 0.0, element_bytes * 3.0 * rows * width};
  if (!has_experts) of(work, Phase::dense) += feed_forward(w.dense, groups, rows);
  for (std::size_t e = 0; has_experts && e < w.moe.shared.size(); ++e) {
    of(work, Phase::dense) += feed_forward(w.moe.shared[e], groups, rows);
  }
  return work;
}

PhaseWork group_work(const Workload& w, Index groups) {
  PhaseWork work = outside_work(w, groups);
  if (w.dense_blocks > 0) work += scaled(block_work(w, groups, false), static_cast<double>(w.dense_blocks));
  if (w.moe_blocks > 0) work += scaled(block_work(w, groups, true), static_cast<double>(w.moe_blocks));
  return work;
}

PhaseWork routing_work(const Workload& w, Index num_groups, double rows_sent) {
  const auto groups = static_cast<double>(num_groups);
  const double tokens = groups * static_cast<double>(w.group_tokens);
  const auto width = static_cast<double>(w.width);
  const auto experts = static_cast<double>(w.moe.num_experts());
  const auto gate = static_cast<double>(w.moe.gate_elements);
  PhaseWork work{};
  // Logits, their softmax and the gradients of both, written and read; the k best of a token are found in one pass.
  of(work, Phase::gate) = Work{4.0 * groups + 1.0, 6.0 * tokens * gate,
                               element_bytes * (tokens * (4.0 * width + 8.0 * experts) + 2.0 * groups * gate)} +
                          leaf(groups, gate);
  of(work, Phase::gate).elements = tokens * w.moe.choices;
  const double row_bytes = width * (element_bytes + w.transport.wire_bytes);
  const double token_bytes = element_bytes * width * tokens;
  // Out: a copy of x for each row. Back: dx, the sum of what the rows bring.
  of(work, Phase::dispatch) = {2.0, 0.0, 2.0 * rows_sent * row_bytes + token_bytes};
  // Out: y, the sum of the results. Back: a copy of dy for each row, and its product with the result for the gate.
  of(work, Phase::combine) = {2.0, 0.0, 2.0 * rows_sent * row_bytes + token_bytes + element_bytes * rows_sent * width};
  return work;
}

// Forward, the inputs' and the weights' gradient: three calls a matrix and block of rows. The weights are read forward
// and back, their gradient is written, and read where passes add up. A row's operands: each product reads one side and
// writes the other, and the function between reads and writes the hidden one.
ExpertWork expert_work(const FeedForwardSizes& e) {
  const auto matrices = static_cast<double>(e.matrices);
  const double sides = static_cast<double>(e.width + e.hidden);
  const double calls = 3.0 * matrices;
  ExpertWork work;
  work.always = {calls, 0.0, element_bytes * 4.0 * e.multiplied()};
  work.of_row = {calls / expert_block_rows, 6.0 * e.multiplied(),
                 element_bytes * (3.0 * matrices * sides + 6.0 * static_cast<double>(e.hidden) +
                                  2.0 * static_cast<double>(e.width))};
  return work;
}

Work expert_work(const FeedForwardSizes& expert, double rows) {
  if (rows == 0.0) return {};  // an expert without rows is passed over
  const ExpertWork work = expert_work(expert);
  return work.always + work.of_row.scaled(rows);
}

plan::ReducePlan reduce_plan(const Workload& w, Index num_ranks) {
  return {w.replicated_parameters, w.groups_in_pass(), num_ranks};
}

// Partial sums are read and written where they leave; a slice of each piece of all ranks is then read into another.
Work reduce_work(const Workload& w, const plan::ReducePlan& plan, RankId rank) {
  const auto slice = static_cast<double>(plan.slice_of(rank).size());
  const double sent = static_cast<double>(std::ssize(plan.pieces_of(rank)) * plan.num_elements());
  const double added = static_cast<double>(std::ssize(plan.finish()) + 1) * slice;
  return {2.0 * static_cast<double>(w.num_reductions()), 0.0, element_bytes * (2.0 * sent + 3.0 * added)};
}

// Value, gradient and states are read and written, and the gradient read once before for the norm.
Work update_work(const Workload& w, double owned) {
  const auto arrays = static_cast<double>(2 + w.states);
  return {std::ceil(owned / update_chunk), 0.0, element_bytes * (2.0 * arrays + 1.0) * owned};
}

double step_footprint(const Workload& w, Index num_ranks) {
  const auto ranks = static_cast<double>(num_ranks);
  const auto states = static_cast<double>(w.states);
  double experts = 0.0;
  double hidden = 0.0;
  for (const FeedForwardSizes& e : w.moe.experts) {
    experts += static_cast<double>(w.moe_blocks * e.parameters);
    hidden += tape_columns(e) / static_cast<double>(w.moe.num_experts());
  }
  const double parameters =
      experts / ranks * (2.0 + states) + static_cast<double>(w.replicated_parameters) * (2.0 + states / ranks);
  // Of a token: each block's inputs, queries, keys, values and results; what it brings to each of its experts; logits.
  constexpr double block_widths = 14.0;
  const auto width = static_cast<double>(w.width);
  double columns = static_cast<double>(w.blocks()) * block_widths * width +
                   static_cast<double>(w.dense_blocks) * tape_columns(w.dense) +
                   static_cast<double>(w.moe_blocks) * w.moe.choices * (2.0 * width + hidden) +
                   2.0 * static_cast<double>(w.vocabulary);
  for (const FeedForwardSizes& shared : w.moe.shared)
    columns += static_cast<double>(w.moe_blocks) * tape_columns(shared);
  const double tokens = static_cast<double>(w.groups_in_pass() * w.group_tokens) / ranks;
  return element_bytes * (parameters + 2.0 * tokens * columns);
}

PhaseWork step_work(const Workload& w, const ExpertMap& map, RankId rank,
                    std::span<const std::vector<double>> rows_per_layer) {
  check(w);
  invariant(std::ssize(rows_per_layer) == w.moe_blocks, "rows of {} layers of {}", rows_per_layer.size(), w.moe_blocks);
  invariant(w.moe_blocks == 0 || map.num_experts() == w.moe.num_experts(), "a map of {} experts of {}",
            map.num_experts(), w.moe.num_experts());
  const auto passes = static_cast<double>(w.passes);
  const Index groups = even_share(w.groups_in_pass(), map.num_ranks(), rank.value()).size();
  const double share = static_cast<double>(groups) / static_cast<double>(w.groups_in_pass());
  PhaseWork work = group_work(w, groups);
  double owned = 0.0;
  for (const std::vector<double>& rows : rows_per_layer) {
    invariant(std::ssize(rows) == map.num_experts(), "rows of {} experts of {}", rows.size(), map.num_experts());
    double all = 0.0;
    for (const double of_expert : rows) all += of_expert / passes;
    work += routing_work(w, groups, share * all);
    for (const ExpertId e : map.experts_of(rank)) {
      const FeedForwardSizes& expert = w.moe.experts[static_cast<std::size_t>(e.value())];
      of(work, Phase::experts) += expert_work(expert, rows[static_cast<std::size_t>(e.value())] / passes);
      owned += static_cast<double>(expert.parameters);
    }
  }
  const plan::ReducePlan plan = reduce_plan(w, map.num_ranks());
  of(work, Phase::reduce) += reduce_work(w, plan, rank);
  work = scaled(work, passes);
  of(work, Phase::optimizer) += update_work(w, owned + static_cast<double>(plan.slice_of(rank).size()));
  return work;
}

double flops(const PhaseWork& work) {
  double sum = 0.0;
  for (const Work& of_phase : work) sum += of_phase.flops;
  return sum;
}

}  // namespace conclave::sim
