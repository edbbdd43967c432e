// SPDX-License-Identifier: BSD-3-Clause
// The measurement `step`: whole training steps of a configuration beside the matrix products in them.
#include "apps/bare_experts.hpp"
#include "apps/train_case.hpp"
#include "runtime/core/span_recorder.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

struct StepCase : TrainCase {
  bool traced = false;
};

void describe_step(StepCase& c, OptionSections& sections) {
  describe(c, sections);
  sections.section("Step").add(
      "traced", c.traced, "measure also, in turn, steps that are recorded as `train --trace` does: what that costs");
}

// The products of this rank's even share of the rows of one layer's feed-forward.
BareExperts one_layer(const train::TrainOptions& o, const comm::Communicator& world) {
  const Index rows = o.tokens_in_step();
  const model::ModelOptions& m = o.model;
  if (m.moe_every == 0) {
    return {{{m.dense_kind, m.width, m.dense_hidden, false, 0}},
            {even_share(rows, world.size(), world.rank().value()).size()}};
  }
  const auto all = experts::expert_shapes(m.experts, m.width, m.router.experts);
  const Range mine = even_share(m.router.experts, world.size(), world.rank().value());
  std::vector<experts::ExpertShape> shapes;
  std::vector<Index> shares;
  for (Index e = mine.begin; e < mine.end; ++e) {
    shapes.push_back(all[static_cast<std::size_t>(e)]);
    shares.push_back(even_share(rows * m.router.top_k, m.router.experts, e).size());
  }
  return {shapes, shares};
}

Report report_of(const std::vector<train::StepRecord>& steps, const Timings& step, const Timings& floor) {
  Report report{.measurement = "step", .floors = {"products"}};
  const auto tokens = static_cast<double>(steps.front().tokens);
  report.lines.push_back({"training step", step, {floor}, tokens, "tokens/s"});
  report.facts = {{"step_s", step.median()},
                  {"gemm_floor_s", floor.median()},
                  {"ratio", report.lines[0].ratio()},
                  {"tokens_per_s", tokens / step.median()}};
  Json& phases = report.facts["phases"] = Json::object();
  for (const auto& entry : enum_names(Phase{})) {
    Timings of_phase;
    for (const train::StepRecord& s : steps) {
      of_phase.seconds.push_back(s.phases[static_cast<std::size_t>(entry.value)].mean_s);
    }
    if (of_phase.max() == 0.0) continue;
    phases[std::string(entry.name)] = of_phase.median();
    report.lines.push_back({.name = std::string(entry.name), .ours = of_phase, .is_part = true});
  }
  return report;
}

// Ratios of pairs that were measured one after the other: what else was going on is much the same for both.
void add_traced(const Timings& traced, const Timings& step, const Timings& floor, Report& report) {
  std::vector<double> ratios;
  std::ranges::transform(traced.seconds, step.seconds, std::back_inserter(ratios), std::divides());
  const double ratio = Timings{ratios}.median();
  report.lines.insert(report.lines.begin() + 1, {.name = "recorded for a trace", .ours = traced, .floors = {floor}});
  report.facts["traced"] = {{"step_s", traced.median()}, {"ratio", ratio}};
  report.notes.push_back(fmt::format("recorded for a trace, a step takes {:.4f} times as long (median of {} pairs)",
                                     ratio, ratios.size()));
}

std::optional<Report> measure_step(StepCase& c, const Session& session) {
  const comm::Communicator& world = session.world;
  std::set<std::string> unused = options_beside_the_step();
  unused.insert({"checkpoint_async", "checkpoint_every", "placement", "placement_replicas"});
  refuse_unused(session, unused);
  const auto samples = settle(c, session);
  train::Trainer trainer(c.train, *samples, world);
  std::vector<train::StepRecord> steps;
  BareExperts bare = one_layer(c.train, world);
  SpanRecorder recorder;
  std::vector<std::function<void()>> things{[&] { steps.push_back(trainer.step()); }, [&] { bare.run(); }};
  if (c.traced) {
    things.emplace_back([&] {
      recorder.begin();
      trainer.record_in(&recorder);
      trainer.step();
      trainer.record_in(nullptr);
    });
    // Both kinds of steps come after products, with the same in the caches: otherwise the one would pay for these.
    things.emplace_back([&] { bare.run(); });
  }
  const auto timings = timed_in_turn(world, c.run.repeats, Across::slowest_rank, things);
  steps.erase(steps.begin(), steps.end() - c.run.repeats * timings[0].calls);  // those that did not count

  // The products of a step, spread evenly over the ranks, at the rate of those of its experts.
  const double flops = step_flops(c.train, trainer.model(), steps.back()) / static_cast<double>(world.size());
  Timings floor = timings[1];
  const double bare_flops = world.max(bare.flops());
  for (double& seconds : floor.seconds) seconds *= flops / bare_flops;
  Report report = report_of(steps, timings[0], floor);
  report.title = "Training step: " + size_text(c.train, world);
  const double rate = bare_flops / timings[1].median();
  report.facts["gemm_flops"] = flops * static_cast<double>(world.size());
  report.facts["gemm_flops_per_s"] = rate;
  report.notes = {fmt::format("products: {:.4g} GFLOP a rank, at the {:.4g} GFLOP/s of the experts' products",
                              1e-9 * flops, 1e-9 * rate),
                  "phases are means over the ranks, by their main threads"};
  if (c.traced) add_traced(timings[2], timings[0], floor, report);
  Timings communication;
  for (const train::StepRecord& s : steps) communication.seconds.push_back(s.communication.mean_s);
  add_communication(communication, report);
  return report;
}

}  // namespace

Command bench_step() {
  return make_measurement<StepCase>("step", "whole training steps of a configuration, beside the products in them",
                                    describe_step, measure_step);
}

}  // namespace conclave::apps
