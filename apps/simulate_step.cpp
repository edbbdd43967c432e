// SPDX-License-Identifier: BSD-3-Clause
// The simulation `step`: dispatch, the experts' products, combine, and the reduction of gradients.
#include "apps/simulate.hpp"
#include "runtime/sim/step_model.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

struct StepSimulation {
  SimulatedMachine machine;
  sim::StepOptions step;
};

void describe_step(StepSimulation& o, OptionSections& sections) {
  describe(o.machine, sections);
  sim::describe(o.step, sections.section("Step"));
  sim::describe(o.step.exchange, sections.section("Dispatch and combine"));
}

void add_facts(const sim::StepPrice& price, const sim::StepOptions& o, Prediction& prediction) {
  prediction.facts["hidden_s"] = price.hidden_s;
  prediction.facts["waves"] = o.waves;
  prediction.facts["strategy"] = name_of(o.exchange.strategy);
  if (price.hidden_s > 0.0) {
    prediction.notes.push_back(
        fmt::format("{} of dispatch and gemm overlap, in {} waves", seconds_text(price.hidden_s), o.waves));
  }
  if (o.capacity_factor == 0.0) return;
  prediction.facts["capacity_factor"] = o.capacity_factor;
  prediction.facts["dropped"] = price.dropped;
  prediction.notes.push_back(
      fmt::format("{:.2f} % dropped at capacity factor {:g}", 100.0 * price.dropped, o.capacity_factor));
}

int run_step(const StepSimulation& o, const Session& session) {
  train::on_root(session.world, [&] {
    sim::validate(o.step);
    const sim::Network network = network_of(o.machine);
    const sim::StepPrice price = sim::price_step(network, popularity_of(o.machine, network.num_ranks()), o.step);
    Prediction prediction{"step",
                          fmt::format("Step with exchange {}, {:.4g} bytes and {:.4g} flops a rank",
                                      name_of(o.step.exchange.strategy), o.step.bytes_per_rank, o.step.flops_per_rank),
                          price.time_s,
                          price.phases,
                          price.bottleneck,
                          price.tier};
    add_facts(price, o.step, prediction);
    print(prediction, o.machine, network.cluster());
  });
  return 0;
}

}  // namespace

Command simulate_step() {
  return make_command<StepSimulation>("step", "dispatch, experts, combine and the reduction of gradients", "",
                                      describe_step, run_step);
}

}  // namespace conclave::apps
