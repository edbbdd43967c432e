// SPDX-License-Identifier: BSD-3-Clause
// Runs whose experts may move, made up: what their steps would have been, and what the simulator knows of them.
#pragma once

#include "apps/expert_moves.hpp"
#include "apps/run_rates.hpp"
#include "apps/training_workload.hpp"
#include "runtime/core/at.hpp"

namespace conclave::test {

using Rows = std::vector<std::vector<Index>>;  // [sources][experts]

inline train::TrainOptions moving_options() {
  train::TrainOptions o;
  o.model.layers = 4;
  o.model.moe_every = 2;
  o.model.width = 64;
  o.model.router.experts = 4;
  o.model.experts.expert_hidden = {1024};
  o.sequences = 64;
  o.placement = train::ExpertPlacement::automatic;
  o.transport.exchange = "flat";
  o.compute.threads = 1;
  return o;
}

inline gating::RoutingSizes sizes_of(const train::TrainOptions& o, Index classes) {
  return {o.model.num_moe_layers(), o.model.router.experts, o.groups, o.sequences_in_group() * o.tokens_in_sample(),
          classes};
}

// Of ranks that are nodes of their own, or all on one. Bps: of messages between ranks.
inline apps::PricedRun priced_run(const train::TrainOptions& o, Index ranks, double Bps, bool one_node,
                                  Index classes = 1) {
  const sim::Fitted rate{Bps, Bps, Bps};
  const sim::Fitted latency{1e-6, 1e-6, 1e-6};
  const sim::MessageCosts costs{{latency, rate}, {latency, rate}, 0.0, {}};
  sim::Machine machine = apps::usual_machine(one_node ? ranks : 1, 1);
  machine.node = machine.network = costs;
  const sim::Cluster cluster =
      one_node ? apps::cluster_of_messages(machine, 1, ranks) : apps::cluster_of_messages(machine, ranks, 1);
  return {apps::training_workload(o, {.vocabulary = 64}), sim::Network(cluster), machine, true, sizes_of(o, classes)};
}

// layers[l]: the rows of a layer.
inline train::StepRecord step_of(const std::vector<Rows>& layers, double seconds, double wait_s) {
  train::StepRecord step;
  step.seconds = seconds;
  step.phases[at(static_cast<Index>(Phase::experts))].mean_s = seconds - wait_s;
  step.phases[at(static_cast<Index>(Phase::wait))].mean_s = wait_s;
  gating::RoutingStep& routing = step.routing.emplace();
  for (const Rows& layer : layers) {
    for (const std::vector<Index>& rows : layer) routing.kept.insert(routing.kept.end(), rows.begin(), rows.end());
  }
  routing.claimed = routing.kept;
  return step;
}

}  // namespace conclave::test
