// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/what_if.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

constexpr double endless = 1e12;  // times a bandwidth: nothing waits for it

void lift_node_bandwidth(Cluster& cluster, Machine& machine) {
  cluster.node_bus_Bps *= endless;
  if (machine.node) {
    machine.node->eager.Bps.value *= endless;
    machine.node->rendezvous.Bps.value *= endless;
  }
  if (machine.shared_memory) machine.shared_memory->copy_Bps.value *= endless;
}

void lift_latency(Cluster& cluster, Machine& machine) {
  cluster.latency_s *= 0.0;  // what is not given stays so
  cluster.node_latency_s *= 0.0;
  cluster.fabric.link_latency_s *= 0.0;
  for (std::optional<MessageCosts>* costs : {&machine.node, &machine.network}) {
    if (*costs) (*costs)->eager.latency_s = (*costs)->rendezvous.latency_s = {};
  }
  if (machine.shared_memory) machine.shared_memory->synchronise_s = {};
}

void lift(Limit limit, Cluster& cluster, Machine& machine, std::vector<ExpertLoads>& loads) {
  switch (limit) {
    case Limit::uneven_experts:
      for (ExpertLoads& of_layer : loads) of_layer = evened(of_layer);
      return;
    case Limit::bandwidth:
      cluster.nic_Bps *= endless;
      cluster.fabric.link_Bps *= endless;
      return;
    case Limit::node_bandwidth:
      return lift_node_bandwidth(cluster, machine);
    case Limit::latency:
      return lift_latency(cluster, machine);
    case Limit::posting:
      for (std::optional<MessageCosts>* costs : {&machine.node, &machine.network}) {
        if (*costs) (*costs)->post_s = (*costs)->busy_s_per_byte = {};
      }
      return;
    case Limit::calls:
      for (ComputeRates& rates : machine.compute) {
        for (Rate& rate : rates.phases) rate.s_per_call = {};
      }
      return;
    case Limit::noise:
      machine.noise = {};
      return;
    case Limit::faults:
      cluster.faults.clear();
      return;
  }
}

}  // namespace

std::string_view meaning_of(Limit limit) {
  switch (limit) {
    case Limit::uneven_experts:
      return "every expert gets the mean of all rows, never more";
    case Limit::bandwidth:
      return "NICs and links carry anything at once";
    case Limit::node_bandwidth:
      return "what stays within a node takes no time but its latency";
    case Limit::latency:
      return "messages and synchronisation within nodes begin at once";
    case Limit::posting:
      return "messages cost their ranks nothing";
    case Limit::calls:
      return "library calls and kernels cost only their work";
    case Limit::noise:
      return "every rank takes its mean time in every step";
    case Limit::faults:
      return "no host and no NIC is slower than the others";
  }
  return {};
}

ExpertLoads evened(const ExpertLoads& loads) {
  ExpertLoads even = loads;
  const auto experts = static_cast<double>(std::max<std::size_t>(1, loads.rows.size()));
  even.rows.assign(loads.rows.size(), {loads.kept() / experts, 0.0, 0.0});
  for (std::vector<double>& rows : even.by_source) {
    double sum = 0.0;
    for (const double of_expert : rows) sum += of_expert;
    rows.assign(rows.size(), sum / experts);
  }
  return even;
}

TrainingPrice price_without(const TrainingCase& t, Limit limit) {
  Cluster cluster = t.network.cluster();
  Machine machine = t.machine != nullptr ? *t.machine : Machine{};
  std::vector<ExpertLoads> loads(t.loads.begin(), t.loads.end());
  lift(limit, cluster, machine, loads);
  const Network network(std::move(cluster));
  return price_training_step(
      {t.workload, network, t.machine != nullptr ? &machine : nullptr, loads, t.placements, t.scheduled_up_to});
}

std::vector<LiftedLimit> lifted_limits(const TrainingCase& t, double step_s) {
  std::vector<LiftedLimit> lifted;
  for (const auto& entry : enum_names(Limit{})) {
    const double without_s = price_without(t, entry.value).step_s;
    lifted.push_back({entry.value, without_s, step_s - without_s});
  }
  std::ranges::stable_sort(lifted, std::ranges::greater{}, &LiftedLimit::gain_s);
  return lifted;
}

}  // namespace conclave::sim
