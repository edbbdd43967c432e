// SPDX-License-Identifier: BSD-3-Clause
// The measurement `layer`: forward and backward of one MoE layer beside the bare products of its experts.
#include "apps/bench.hpp"
#include "apps/layer_bench.hpp"
#include "apps/memory.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/model/transport.hpp"

namespace conclave::apps {
namespace {

struct LayerOptions {
  MoeCase layer;
  model::TransportOptions transport;
  BenchRun run;
};

void describe_layer(LayerOptions& o, OptionSections& sections) {
  describe(o.layer, sections);
  model::describe(o.transport, sections.section("Exchange"));
}

// Times of the phases in the calls that were counted, the last ones.
void add_phases(const LayerBench& bench, const comm::Communicator& world, Index counted, Report& report) {
  Json& seconds = report.facts["phases"] = Json::object();
  for (const auto& entry : enum_names(Phase{})) {
    std::vector<double> mine;
    for (auto call = bench.phases().end() - counted; call != bench.phases().end(); ++call) {
      mine.push_back((*call)[static_cast<std::size_t>(entry.value)]);
    }
    const Timings all = of_every_rank(world, mine);
    if (all.max() == 0.0) continue;
    seconds[std::string(entry.name)] = all.median();
    report.lines.push_back({.name = std::string(entry.name), .ours = all, .is_part = true});
  }
}

std::string title(const MoeCase& c, const comm::Communicator& world) {
  return fmt::format(
      "MoE layer, forward and backward: {} tokens a rank of width {}, top-{} of {} experts, {} ranks, {} threads, {}",
      c.tokens, c.width, c.router.top_k, c.router.experts, world.size(), num_threads(), name_of(gemm_backend()));
}

std::optional<Report> measure_layer(LayerOptions& o, const Session& session) {
  const comm::Communicator& world = session.world;
  settle(o.layer, session);
  if (explained(o.layer, session)) return std::nullopt;
  const model::Transport transport(o.transport, world);
  const double before = proportional_memory();
  LayerBench bench(o.layer, {o.layer.tokens * world.size(), o.layer.groups * world.size()}, transport.ranks());
  bench.forward_backward();  // the rows are known
  world.barrier();           // a page that several ranks share is counted by those that have touched it
  const double measured = world.max(proportional_memory() - before);
  const double needed = world.max(bench.memory_need(transport.row_transport()));

  // Skewed on purpose, a hot expert must cost its own time; else imbalance is the layer's to answer for.
  const bool balanced = o.layer.skew == Skew::uniform || o.layer.skew == Skew::drawn;
  BareExperts bare = bench.bare_experts(balanced);
  const GemmBackend backend = faster_backend(world, bare);
  const auto timings = timed_in_turn(world, o.run.repeats, Across::slowest_rank,
                                     {[&] { bench.forward_backward(); },
                                      [&] {
                                        const GemmScope scope(backend);
                                        bare.run();
                                      }});
  const auto tokens = static_cast<double>(o.layer.tokens * world.size());
  const double flops = world.max(bare.flops());
  const model::LayerStatistics statistics = bench.statistics();
  Report report{.measurement = "layer", .title = title(o.layer, world), .floors = {"bare GEMMs"}};
  report.lines.push_back({"forward and backward", timings[0], {timings[1]}, tokens, "tokens/s"});
  report.facts = {{"forward_backward_s", timings[0].median()},
                  {"gemm_floor_s", timings[1].median()},
                  {"ratio", report.lines[0].ratio()},
                  {"tokens_per_s", tokens / timings[0].median()},
                  {"gemm_floor_backend", name_of(backend)},
                  {"gemm_floor_rows", balanced ? "balanced" : "as routed"},
                  {"memory_formula_bytes", needed},
                  {"memory_measured_bytes", measured},
                  {"imbalance", statistics.imbalance()},
                  {"drop_rate", statistics.drop_rate()}};
  add_phases(bench, world, o.run.repeats * timings[0].calls, report);
  report.lines.push_back({"bare GEMMs", timings[1], {}, 1e-9 * flops, "GFLOP/s a rank"});
  report.notes = {
      drop_text(o.layer.router.capacity_factor, statistics.claims(),
                statistics.over_capacity + statistics.refused_second),
      fmt::format("memory of the fullest rank: {} by formula, {} measured", bytes_text(needed), bytes_text(measured)),
      fmt::format("bare GEMMs: the products of the experts alone, by {}, {}, on all ranks at once, slowest rank",
                  name_of(backend), balanced ? "rows evenly over all experts" : "rows as routed"),
      fmt::format(
          "the fullest expert has {:.2f} times the mean load; phases are of every rank, the rest of the slowest",
          statistics.imbalance())};
  const std::vector<double>& communication = bench.communication_s();
  const Index counted = o.run.repeats * timings[0].calls;
  add_communication(of_every_rank(world, {communication.end() - counted, communication.end()}), report);
  return report;
}

}  // namespace

Command bench_layer() {
  return make_measurement<LayerOptions>("layer", "an MoE layer's forward and backward, beside its experts' products",
                                        describe_layer, measure_layer);
}

}  // namespace conclave::apps
