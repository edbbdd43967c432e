// SPDX-License-Identifier: BSD-3-Clause
// The command `bench`: measures parts of the program on this machine, each beside what it cannot be faster than.
#include "apps/command.hpp"
#include "apps/launch.hpp"
#include "apps/progress.hpp"
#include "apps/router_options.hpp"
#include "comm/mpi/reproducible_reduce.hpp"
#include "experts/options.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/moe_layer.hpp"
#include "runtime/model/options.hpp"

#include <algorithm>
#include <chrono>

namespace conclave::apps {
namespace {

struct BenchOptions {
  Index tokens = 4096;
  Index groups = 4;
  Index width = 512;
  gating::RouterOptions router;
  experts::ExpertOptions experts;
  Index repeats = 7;
  Index threads = 1;
  bool explain_router = false;

  BenchOptions() {
    router.experts = 16;
    router.capacity_factor = 0.0;
    experts.expert_hidden = {2048};
  }
};

void describe(BenchOptions& o, OptionSections& sections) {
  OptionTable& table = sections.section("Measurement");
  table.add("tokens", o.tokens, "tokens of a step, over all ranks");
  table.add("groups", o.groups, "groups they form");
  table.add("width", o.width, "features of a token");
  table.add("repeats", o.repeats, "pairs of timings, after one that is not counted");
  table.add("threads", o.threads, "threads a rank; 0: this rank's share of the CPUs");
  table.add("explain_router", o.explain_router, "say what the router will do with these options, and stop");
  gating::describe(o.router, sections.section("Router"));
  experts::describe(o.experts, sections.section("Experts"));
}

/// Seconds of the slowest rank.
double timed(const comm::Communicator& world, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  world.barrier();
  const Clock::time_point start = Clock::now();
  work();
  return world.max(std::chrono::duration<double>(Clock::now() - start).count());
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void fill(const Random& random, Index which, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(random.normal(static_cast<Index>(i), which));
  }
}

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
    fill(random, 2 * world.rank().value(), x_.flat());
    fill(random, 2 * world.rank().value() + 1, dy_.flat());
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
      const Index n = rows[static_cast<std::size_t>(i)];
      flops += 3.0 * static_cast<double>(n * layer_.shard().function(LocalExpertId{i}).flops_per_row());
      const experts::ExpertShape& shape = layer_.shard().function(LocalExpertId{i}).shape();
      bare_expert(n, shape);
    }
    return flops;
  }

  [[nodiscard]] const PhaseTimes& times() const { return times_; }
  void clear_times() { times_.clear(); }

 private:
  // The products of one expert: forward, input gradient, weight gradient of each of its matrices.
  void bare_expert(Index rows, const experts::ExpertShape& shape) {
    const bool is_linear = shape.kind == experts::ExpertKind::linear;
    const Index inner = is_linear ? shape.width : shape.hidden;
    for (Matrix<float>* m : {&in_, &din_}) resize_zero(*m, rows, shape.width);
    for (Matrix<float>* m : {&hidden_, &dhidden_}) resize_zero(*m, rows, inner);
    for (Matrix<float>* m : {&w_, &dw_}) resize_zero(*m, inner, shape.width);
    const int into = shape.kind == experts::ExpertKind::swiglu ? 2 : 1;  // matrices that take x
    for (int i = 0; i < into; ++i) {
      blocks(rows,
             [&](Range b) { gemm_nt<float>(in_.view().row_block(b), w_.view(), 0.0F, hidden_.view().row_block(b)); });
      blocks(rows,
             [&](Range b) { gemm_nn<float>(dhidden_.view().row_block(b), w_.view(), 0.0F, din_.view().row_block(b)); });
      gemm_tn<float>(dhidden_.view(), in_.view(), 0.0F, dw_.view());
    }
    if (is_linear) return;
    blocks(rows,
           [&](Range b) { gemm_nn<float>(hidden_.view().row_block(b), w_.view(), 0.0F, in_.view().row_block(b)); });
    blocks(rows,
           [&](Range b) { gemm_nt<float>(din_.view().row_block(b), w_.view(), 0.0F, dhidden_.view().row_block(b)); });
    gemm_tn<float>(hidden_.view(), din_.view(), 0.0F, dw_.view());
  }

  static void resize_zero(Matrix<float>& m, Index rows, Index cols) {
    const bool fresh = m.rows() * m.cols() < rows * cols;
    m.resize(rows, cols);
    if (fresh) m.fill(0.0F);
  }

  static void blocks(Index rows, const std::function<void(Range)>& product) {
    constexpr Index size = experts::ExpertShard<float>::block_rows;
    for (Index begin = 0; begin < rows; begin += size) product({begin, std::min(begin + size, rows)});
  }

  ParameterList replicated_;
  model::MoeLayer<float> layer_;
  plan::ReducePlan plan_;
  model::GroupGradients<float> gradients_;
  PhaseTimes times_;
  model::Step step_;
  Matrix<float> values_, x_, y_, dx_, dy_;
  std::vector<std::int32_t> token_ids_;
  Matrix<float> in_, din_, hidden_, dhidden_, w_, dw_;
};

void validate(const BenchOptions& o) {
  gating::validate(o.router);
  experts::validate(o.experts);
  if (o.tokens < 1 || o.groups < 1 || o.tokens % o.groups != 0) {
    throw InputError(fmt::format("{} tokens in {} groups", o.tokens, o.groups), "groups must divide tokens");
  }
  if (o.width < 1) throw InputError(fmt::format("width = {}", o.width), "give at least 1");
  if (o.repeats < 1) throw InputError(fmt::format("repeats = {}", o.repeats), "give at least 1");
  apply_threads(o.threads);
}

int bench_moe_layer(const BenchOptions& o, const comm::Communicator& world) {
  const auto exchange = comm::make_exchange(comm::exchange_strategies().front().name, world);
  LayerBench bench(o, world, *exchange);
  bench.forward_backward();  // memory is allocated, rows are known
  bench.bare_gemms();
  bench.clear_times();
  std::vector<double> layer;
  std::vector<double> bare;
  std::vector<double> ratio;
  double flops = 0.0;
  for (Index i = 0; i < o.repeats; ++i) {
    layer.push_back(timed(world, [&] { bench.forward_backward(); }));
    bare.push_back(timed(world, [&] { flops = bench.bare_gemms(); }));
    ratio.push_back(layer.back() / bare.back());
  }
  const double least = *std::min_element(bare.begin(), bare.end());
  flops = static_cast<double>(world.sum(static_cast<std::int64_t>(flops))) / static_cast<double>(world.size());
  if (!world.is_root()) return 0;
  fmt::print("MoE layer, forward and backward: {} tokens of width {}, top-{} of {} experts, {} ranks, {} threads\n",
             o.tokens, o.width, o.router.top_k, o.router.experts, world.size(), num_threads());
  fmt::print("  layer             {:9.2f} ms median, {:9.2f} least of {}\n", 1e3 * median(layer),
             1e3 * *std::min_element(layer.begin(), layer.end()), o.repeats);
  fmt::print("  bare expert GEMMs {:9.2f} ms median, {:9.2f} least, one thread, slowest rank; {:.1f} GFLOP/s a rank\n",
             1e3 * median(bare), 1e3 * least, 1e-9 * flops / least);
  fmt::print("  layer / bare      {:9.3f} median of pairs, {:.3f} least\n", median(ratio),
             *std::min_element(ratio.begin(), ratio.end()));
  for (const auto& entry : enum_names(Phase{})) {
    const double seconds = bench.times().seconds(entry.value) / static_cast<double>(o.repeats);
    if (seconds > 0.0) fmt::print("    {:<12}{:9.2f} ms, mean on the root\n", entry.name, 1e3 * seconds);
  }
  return 0;
}

int run(const BenchOptions& given, const Session& session) {
  BenchOptions o = given;
  gating::apply_preset(o.router, session.given);
  validate(o);
  if (o.explain_router) {
    if (session.world.is_root()) {
      fmt::print("{}", router_explanation(o.router, {o.tokens / o.groups, o.groups}, terminal_width(stdout)));
    }
    return 0;
  }
  if (session.arguments.size() != 1 || session.arguments.front() != "moe-layer") {
    throw InputError(fmt::format("bench what? '{}' is not known", fmt::join(session.arguments, " ")),
                     "the measurements are: moe-layer");
  }
  return bench_moe_layer(o, session.world);
}

}  // namespace

Command bench_command() {
  return make_command<BenchOptions>("bench", "measure on this machine: moe-layer, beside its bare products", "WHAT",
                                    describe, run);
}

}  // namespace conclave::apps
