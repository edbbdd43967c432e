// SPDX-License-Identifier: BSD-3-Clause
// The measurement `router`: all that routing costs, forward and backward, beside the bare products of the experts that
// it feeds.
#include "apps/bare_experts.hpp"
#include "apps/bench.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "gating/dispatch_plan.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/group_gradients.hpp"
#include "runtime/model/step_capacity.hpp"

#include <array>

namespace conclave::apps {
namespace {

/// The groups of one rank, routed as an MoE layer routes them.
class RouterBench {
 public:
  RouterBench(const BenchOptions& o, const comm::Communicator& world)
      : options_(o),
        world_(world),
        router_(gating::make_router<float>(o.router, 1, o.width, parameters_, "")),
        plan_(parameters_.size(), o.groups, world.size()),
        gradients_(plan_, world.rank()),
        map_(ExpertMap::contiguous(o.router.experts, world.size())) {
    const Range mine = plan_.groups_of(world.rank());
    step_ = {.number = 0,
             .training = true,
             .num_groups = o.groups,
             .num_groups_in_pass = o.groups,
             .first_group = mine.begin,
             .groups = {mine.size(), o.tokens / o.groups}};
    values_.resize(1, parameters_.size());
    initialise<float>(parameters_, {0, parameters_.size()}, 1, values_.flat());
    for (Matrix<float>* m : {&x_, &dx_}) m->resize(step_.groups.total_rows(), o.width);
    const Random random(1, RandomStream::initial, 1);
    fill_normal(random, world.rank().value(), x_.flat());
    dx_.fill(0.0F);
    for (Index t = 0; t < x_.rows(); ++t) token_ids_.push_back(static_cast<std::int32_t>((t * 31) % 251));
    for (Index g = 0; g < mine.size(); ++g) tapes_.push_back(router_->make_tape());
  }

  void choose() {
    parallel_for(step_.groups.num_groups, [&](Index g) { router_->choose(values(), input(g), tape(g)); });
  }
  void serve() {
    if (options_.router.capacity_scope == gating::CapacityScope::step) {
      model::serve_over_step<float>(world_, step_, *router_, tapes_);
    } else {
      parallel_for(step_.groups.num_groups, [&](Index g) { router_->serve(input(g), tape(g)); });
    }
  }
  void settle() {
    parallel_for(step_.groups.num_groups, [&](Index g) { router_->settle(input(g), tape(g)); });
  }
  void make_plan() {
    std::vector<const gating::Routing<float>*> routings;
    for (const auto& t : tapes_) routings.push_back(&t->routing);
    dispatch_ = gating::DispatchPlan(routings, map_.by_owner());
  }
  void backward() {
    const gating::LossCotangent losses{
        options_.router.c_balance, options_.router.c_z, options_.router.c_importance, options_.groups, {}};
    d_gates_.resize(static_cast<std::size_t>(dispatch_.num_rows()), 0.5F);
    gradients_.add({0, parameters_.size()}, [&](Index g, ParameterView<float> leaf) {
      const auto first = static_cast<std::size_t>(dispatch_.choices_of(step_.groups.of(g).begin).begin);
      router_->backward(values(), input(g), tape(g),
                        std::span<const float>(d_gates_).subspan(first, tape(g).routing.kept().size()), losses,
                        dx_.view().row_block(step_.groups.of(g)), leaf);
    });
    gradients_.clear();
  }

  /// Claims of this rank's tokens, and those of them that were dropped.
  [[nodiscard]] std::array<std::int64_t, 2> claims_and_dropped() const {
    std::array<std::int64_t, 2> counts{};
    for (const auto& t : tapes_) {
      counts[0] += std::ssize(t->routing.kept()) + t->routing.counts().dropped();
      counts[1] += t->routing.counts().dropped();
    }
    return counts;
  }

  /// The products of an even share of all claims on each of this rank's experts; returns their operations.
  double bare_gemms() {
    const auto shapes = experts::expert_shapes(options_.experts, options_.width, options_.router.experts);
    const Index rows = options_.tokens * options_.router.top_k;
    double flops = 0.0;
    for (const ExpertId e : map_.experts_of(world_.rank())) {
      flops += bare_.run(even_share(rows, options_.router.experts, e.value()).size(),
                         shapes[static_cast<std::size_t>(e.value())]);
    }
    return flops;
  }

 private:
  [[nodiscard]] ParameterView<const float> values() const { return ParameterView<const float>(values_.flat()); }
  [[nodiscard]] gating::RouterTape<float>& tape(Index g) { return *tapes_[static_cast<std::size_t>(g)]; }
  [[nodiscard]] gating::RouterInput<float> input(Index g) const {
    const Range rows = step_.groups.of(g);
    return {x_.view().row_block(rows),
            std::span(token_ids_).subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.size())),
            {},
            {},
            step_.first_token(g),
            0,
            0,
            true};
  }

  const BenchOptions& options_;
  const comm::Communicator& world_;
  ParameterList parameters_;
  std::unique_ptr<gating::Router<float>> router_;
  plan::ReducePlan plan_;
  model::GroupGradients<float> gradients_;
  ExpertMap map_;
  model::Step step_;
  Matrix<float> values_, x_, dx_;
  std::vector<std::int32_t> token_ids_;
  std::vector<std::unique_ptr<gating::RouterTape<float>>> tapes_;
  gating::DispatchPlan dispatch_;
  std::vector<float> d_gates_;
  BareExperts bare_;
};

struct Part {
  std::string_view name;
  void (RouterBench::*run)();
};

constexpr std::array<Part, 5> parts{{{"scores and selection", &RouterBench::choose},
                                     {"capacity", &RouterBench::serve},
                                     {"gates and losses", &RouterBench::settle},
                                     {"dispatch plan", &RouterBench::make_plan},
                                     {"backward", &RouterBench::backward}}};

}  // namespace

void bench_router(const BenchOptions& o, const comm::Communicator& world) {
  RouterBench bench(o, world);
  for (const Part& part : parts) (bench.*part.run)();  // memory is allocated
  bench.bare_gemms();
  std::array<Timings, parts.size()> of_part;
  Timings whole;
  Timings bare;
  Timings ratio;  // of pairs
  double flops = 0.0;
  for (Index i = 0; i < o.repeats; ++i) {
    double sum = 0.0;
    for (std::size_t p = 0; p < parts.size(); ++p) {
      of_part[p].seconds.push_back(timed(world, [&] { (bench.*parts[p].run)(); }));
      sum += of_part[p].seconds.back();
    }
    whole.seconds.push_back(sum);
    bare.seconds.push_back(timed(world, [&] { flops = bench.bare_gemms(); }));
    ratio.seconds.push_back(sum / bare.seconds.back());
  }
  std::array<std::int64_t, 2> claims = bench.claims_and_dropped();
  world.sum(claims);
  if (!world.is_root()) return;
  fmt::print("Routing by {}, forward and backward: {} tokens of width {}, top-{} of {} experts, {} ranks, {} threads\n",
             o.router.router, o.tokens, o.width, o.router.top_k, o.router.experts, world.size(), num_threads());
  fmt::print("  {}\n", drop_text(o.router.capacity_factor, claims[0], claims[1]));
  for (std::size_t p = 0; p < parts.size(); ++p) {
    fmt::print("  {:<22}{:9.2f} ms median\n", parts[p].name, 1e3 * of_part[p].median());
  }
  fmt::print("  {:<22}{:9.2f} ms median, {:.2f} least of {}\n", "routing", 1e3 * whole.median(), 1e3 * whole.least(),
             o.repeats);
  fmt::print("  {:<22}{:9.2f} ms median, {:.2f} least, evenly loaded, one thread; {:.1f} GFLOP/s on the root\n",
             "bare expert GEMMs", 1e3 * bare.median(), 1e3 * bare.least(), 1e-9 * flops / bare.least());
  fmt::print("  {:<22}{:9.2f} % median of pairs, {:.2f} least\n", "routing / bare", 100.0 * ratio.median(),
             100.0 * ratio.least());
}

}  // namespace conclave::apps
