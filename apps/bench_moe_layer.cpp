// SPDX-License-Identifier: BSD-3-Clause
// The measurement `moe-layer`: forward and backward of one layer beside the bare products of its experts.
#include "apps/bare_experts.hpp"
#include "apps/bench.hpp"
#include "comm/mpi/reproducible_reduce.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/moe_statistics.hpp"

namespace conclave::apps {
namespace {

/// One MoE layer on these ranks with random weights and inputs, and the bare products of its experts.
class LayerBench {
 public:
  LayerBench(const BenchOptions& o, const comm::Communicator& world, const comm::Exchange& exchange)
      : layer_(replicated_, "",
               {o.width, o.router, experts::expert_shapes(o.experts, o.width, o.router.experts),
                experts::shared_shapes(o.experts, o.width), 1.0},
               1, 0, ExpertMap::contiguous(o.router.experts, world.size()), {&world, &exchange}),
        plan_(replicated_.size(), o.groups, world.size()),
        gradients_(plan_, world.rank()) {
    const Range mine = plan_.groups_of(world.rank());
    step_ = {.number = 0,
             .training = true,
             .num_groups = o.groups,
             .num_groups_in_pass = o.groups,
             .first_group = mine.begin,
             .groups = {mine.size(), o.tokens / o.groups},
             .times = &times_};
    const Random random(1, RandomStream::initial, 1);
    values_.resize(1, replicated_.size());
    initialise<float>(replicated_, {0, replicated_.size()}, 1, values_.flat());
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
      const ParameterList& list = layer_.shard().parameters(LocalExpertId{i});
      initialise<float>(list, {0, list.size()}, 1, layer_.shard().values(LocalExpertId{i}));
    }
    for (Matrix<float>* m : {&x_, &dy_, &y_, &dx_}) m->resize(step_.groups.total_rows(), o.width);
    fill_normal(random, 2 * world.rank().value(), x_.flat());
    fill_normal(random, 2 * world.rank().value() + 1, dy_.flat());
    token_ids_.assign(static_cast<std::size_t>(x_.rows()), 0);
  }

  void forward_backward() {
    const ParameterView<const float> values(values_.flat());
    layer_.forward(values, step_, x_.view(), token_ids_, y_.view());
    layer_.shard().clear_gradients();
    layer_.backward(values, step_, x_.view(), token_ids_, dy_.view(), 1.0, dx_.view(), gradients_);
    gradients_.clear();
  }

  /// The products of the experts' forward and backward for the rows that the last forward_backward() brought here: what
  /// the layer cannot do without. Returns their floating-point operations.
  double bare_gemms() {
    const std::vector<Index>& rows = layer_.rows_per_local_expert();
    double flops = 0.0;
    for (Index i = 0; i < layer_.shard().num_experts(); ++i) {
      flops += bare_.run(rows[static_cast<std::size_t>(i)], layer_.shard().function(LocalExpertId{i}).shape());
    }
    return flops;
  }

  /// What the last forward_backward() did, over all ranks. Collective.
  [[nodiscard]] model::LayerStatistics statistics(const comm::Communicator& world) const {
    return model::collect_statistics<float>(world, step_, {&layer_}).front();
  }
  [[nodiscard]] const PhaseTimes& times() const { return times_; }
  void clear_times() { times_.clear(); }

 private:
  ParameterList replicated_;
  model::MoeLayer<float> layer_;
  plan::ReducePlan plan_;
  model::GroupGradients<float> gradients_;
  PhaseTimes times_;
  model::Step step_;
  Matrix<float> values_, x_, y_, dx_, dy_;
  std::vector<std::int32_t> token_ids_;
  BareExperts bare_;
};

}  // namespace

void bench_moe_layer(const BenchOptions& o, const comm::Communicator& world) {
  const auto exchange = comm::make_exchange(comm::exchange_strategies().front().name, world);
  LayerBench bench(o, world, *exchange);
  bench.forward_backward();  // memory is allocated, rows are known
  bench.bare_gemms();
  bench.clear_times();
  Timings layer;
  Timings bare;
  Timings ratio;  // of pairs
  double flops = 0.0;
  for (Index i = 0; i < o.repeats; ++i) {
    layer.seconds.push_back(timed(world, [&] { bench.forward_backward(); }));
    bare.seconds.push_back(timed(world, [&] { flops = bench.bare_gemms(); }));
    ratio.seconds.push_back(layer.seconds.back() / bare.seconds.back());
  }
  flops = static_cast<double>(world.sum(static_cast<std::int64_t>(flops))) / static_cast<double>(world.size());
  const model::LayerStatistics statistics = bench.statistics(world);
  if (!world.is_root()) return;
  fmt::print("MoE layer, forward and backward: {} tokens of width {}, top-{} of {} experts, {} ranks, {} threads\n",
             o.tokens, o.width, o.router.top_k, o.router.experts, world.size(), num_threads());
  fmt::print("  {}\n", drop_text(o.router.capacity_factor, statistics.claims(),
                                 statistics.over_capacity + statistics.refused_second));
  fmt::print("  layer             {:9.2f} ms median, {:9.2f} least of {}\n", 1e3 * layer.median(), 1e3 * layer.least(),
             o.repeats);
  fmt::print("  bare expert GEMMs {:9.2f} ms median, {:9.2f} least, one thread, slowest rank; {:.1f} GFLOP/s a rank\n",
             1e3 * bare.median(), 1e3 * bare.least(), 1e-9 * flops / bare.least());
  fmt::print("  layer / bare      {:9.3f} median of pairs, {:.3f} least\n", ratio.median(), ratio.least());
  for (const auto& entry : enum_names(Phase{})) {
    const double seconds = bench.times().seconds(entry.value) / static_cast<double>(o.repeats);
    if (seconds > 0.0) fmt::print("    {:<12}{:9.2f} ms, mean on the root\n", entry.name, 1e3 * seconds);
  }
}

}  // namespace conclave::apps
