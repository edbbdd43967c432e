// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_rates.hpp"

#include "runtime/core/error.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

sim::Fitted exactly(double value) { return {value, value, value}; }

sim::Rate scaled(const sim::Rate& rate, double factor) {
  const auto times = [&](const sim::Fitted& fitted) { return exactly(factor * fitted.value); };
  return {times(rate.s_per_call), times(rate.s_per_flop), times(rate.s_per_byte), times(rate.s_per_far_byte),
          times(rate.s_per_element)};
}

}  // namespace

sim::Machine usual_machine(Index active_ranks, Index threads) {
  sim::Machine machine;
  sim::ComputeRates& rates = machine.compute.emplace_back();
  rates.active_ranks = active_ranks;
  rates.threads = threads;
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    rates.phases[static_cast<std::size_t>(entry.value)] = {.s_per_call = exactly(1e-6),
                                                           .s_per_flop = exactly(1e-11),
                                                           .s_per_byte = exactly(2e-11),
                                                           .s_per_element = exactly(5e-9)};
  }
  return machine;
}

sim::Machine machine_of_phases(const sim::TrainingCase& t, const std::array<double, num_phases>& phases_s,
                               sim::Machine messages) {
  const sim::Machine usual = usual_machine(t.network.cluster().ranks_per_node, t.workload.threads);
  const sim::TrainingPrice price =
      sim::price_training_step({t.workload, t.network, &usual, t.loads, t.placements, /*scheduled_up_to=*/0});
  messages.compute = usual.compute;
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    const auto p = static_cast<std::size_t>(entry.value);
    const double usual_s = price.of(entry.value);
    sim::Rate& rate = messages.compute.front().phases[p];
    rate = scaled(rate, usual_s > 0.0 ? phases_s[p] / usual_s : 0.0);
  }
  for (std::optional<sim::MessageCosts>* costs : {&messages.node, &messages.network}) {
    if (*costs) (*costs)->busy_s_per_byte = {};
  }
  return messages;
}

sim::Cluster cluster_of_messages(const sim::Machine& machine, Index nodes, Index ranks_per_node) {
  const auto needed = [](const std::optional<sim::MessageCosts>& costs, bool is_needed, const std::string& where,
                         const std::string& hint) -> sim::MessageLine {
    if (costs) return costs->rendezvous;
    if (!is_needed) return {exactly(0.0), exactly(1.0)};
    throw InputError(fmt::format("messages {} were not measured", where), hint);
  };
  const sim::MessageLine within = needed(machine.node, ranks_per_node > 1, "between ranks of a node",
                                         "calibrate with more ranks: mpirun -n 2 conclave bench calibrate");
  const sim::MessageLine between = needed(machine.network, nodes > 1, fmt::format("between nodes, of {}", nodes),
                                          "calibrate on two nodes, or describe what is between them: --cluster");
  sim::Cluster cluster;
  cluster.nodes = nodes;
  cluster.ranks_per_node = ranks_per_node;
  cluster.node_latency_s = within.latency_s.value;
  cluster.node_bus_Bps = within.Bps.value;
  const sim::MessageLine& out = nodes > 1 ? between : within;
  cluster.latency_s = out.latency_s.value;
  cluster.nic_Bps = out.Bps.value;
  return cluster;
}

}  // namespace conclave::apps
