// SPDX-License-Identifier: BSD-3-Clause
// The measurement `gate`: all that routing costs, forward and backward, beside the bare products of the experts that it
// feeds.
#include "apps/bench.hpp"
#include "apps/layer_bench.hpp"
#include "comm/plan/reduce_plan.hpp"
#include "gating/dispatch_plan.hpp"
#include "runtime/core/expert_map.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/group_gradients.hpp"
#include "runtime/model/step_capacity.hpp"

#include <array>

namespace conclave::apps {
namespace {

struct GateOptions {
  MoeCase layer;
  BenchRun run;
};

void describe_gate(GateOptions& o, OptionSections& sections) { describe(o.layer, sections); }

/// The groups of one rank, routed as an MoE layer routes them.
class GateBench {
 public:
  GateBench(const MoeCase& c, const comm::Communicator& world)
      : case_(c),
        world_(world),
        router_(gating::make_router<float>(c.router, 1, c.width, parameters_, "")),
        plan_(parameters_.size(), c.groups * world.size(), world.size()),
        gradients_(plan_, world.rank()),
        map_(ExpertMap::contiguous(c.router.experts, world.size())) {
    const Range mine = plan_.groups_of(world.rank());
    step_ = {.number = 0,
             .training = true,
             .num_groups = plan_.num_groups(),
             .num_groups_in_pass = plan_.num_groups(),
             .first_group = mine.begin,
             .groups = {mine.size(), c.tokens / c.groups}};
    values_.resize(1, parameters_.size());
    draw_parameters(c, parameters_, values_.flat());
    for (Matrix<float>* m : {&x_, &dx_}) m->resize(step_.groups.total_rows(), c.width);
    draw_tokens(c, step_.first_token(0), x_.view(), token_ids_);
    dx_.fill(0.0F);
    for (Index g = 0; g < mine.size(); ++g) tapes_.push_back(router_->make_tape());
  }

  void choose() {
    parallel_for(step_.groups.num_groups, [&](Index g) { router_->choose(values(), input(g), tape(g)); });
  }
  void serve() {
    if (case_.router.capacity_scope == gating::CapacityScope::step) {
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
    dispatch_.assign<float>(routings, map_.by_owner());
  }
  void backward() {
    const gating::LossCotangent losses{
        case_.router.c_balance, case_.router.c_z, case_.router.c_importance, step_.num_groups, {}};
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

  /// The products of an even share of all served claims on each of this rank's experts.
  [[nodiscard]] BareExperts bare_experts() const {
    const auto all = experts::expert_shapes(case_.experts, case_.width, case_.router.experts);
    const Index claims = world_.sum(dispatch_.num_rows());
    std::vector<experts::ExpertShape> shapes;
    std::vector<Index> rows;
    for (const ExpertId e : map_.experts_of(world_.rank())) {
      shapes.push_back(all[static_cast<std::size_t>(e.value())]);
      rows.push_back(even_share(claims, case_.router.experts, e.value()).size());
    }
    return {shapes, rows};
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

  const MoeCase& case_;
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
};

struct Part {
  std::string_view name;
  void (GateBench::*run)();
};

constexpr std::array<Part, 5> parts{{{"scores and selection", &GateBench::choose},
                                     {"capacity", &GateBench::serve},
                                     {"gates and losses", &GateBench::settle},
                                     {"dispatch plan", &GateBench::make_plan},
                                     {"backward", &GateBench::backward}}};

std::optional<Report> measure_gate(GateOptions& o, const Session& session) {
  const comm::Communicator& world = session.world;
  settle(o.layer, session);
  if (explained(o.layer, session)) return std::nullopt;
  GateBench bench(o.layer, world);
  const auto all_parts = [&] {
    for (const Part& part : parts) (bench.*part.run)();
  };
  all_parts();
  BareExperts bare = bench.bare_experts();
  const GemmBackend backend = faster_backend(world, bare);
  std::vector<std::function<void()>> things{[&] {
                                              const GemmScope scope(backend);
                                              bare.run();
                                            },
                                            all_parts};
  for (const Part& part : parts) things.emplace_back([&] { (bench.*part.run)(); });
  const std::vector<Timings> timings = timed_in_turn(world, o.run.repeats, Across::slowest_rank, things);
  std::array<std::int64_t, 2> claims = bench.claims_and_dropped();
  world.sum(claims);

  const auto tokens = static_cast<double>(o.layer.tokens * world.size());
  Report report{.measurement = "gate",
                .title = fmt::format("Routing by {}, forward and backward: {} tokens a rank of width {}, top-{} of {} "
                                     "experts, {} ranks, {} threads",
                                     o.layer.router.router, o.layer.tokens, o.layer.width, o.layer.router.top_k,
                                     o.layer.router.experts, world.size(), num_threads()),
                .floors = {"bare GEMMs"}};
  report.lines.push_back({"routing", timings[1], {timings[0]}, tokens, "tokens/s"});
  report.facts = {{"gate_s", timings[1].median()},
                  {"gemm_floor_s", timings[0].median()},
                  {"ratio", report.lines[0].ratio()},
                  {"tokens_per_s", tokens / timings[1].median()},
                  {"gemm_floor_backend", name_of(backend)}};
  for (std::size_t p = 0; p < parts.size(); ++p) {
    report.lines.push_back(
        {.name = std::string(parts[p].name), .ours = timings[p + 2], .floors = {timings[0]}, .is_part = true});
    report.facts["parts"][std::string(parts[p].name)] = timings[p + 2].median();
  }
  report.lines.push_back({"bare GEMMs", timings[0], {}, 1e-9 * world.max(bare.flops()), "GFLOP/s a rank"});
  report.notes = {
      drop_text(o.layer.router.capacity_factor, claims[0], claims[1]),
      fmt::format("bare GEMMs: the products of the experts that are fed, by {}, rows evenly over all experts",
                  name_of(backend))};
  return report;
}

}  // namespace

Command bench_gate() {
  return make_measurement<GateOptions>("gate",
                                       "routing, forward and backward, beside the products of the experts it feeds",
                                       describe_gate, measure_gate);
}

}  // namespace conclave::apps
