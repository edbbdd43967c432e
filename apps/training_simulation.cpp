// SPDX-License-Identifier: BSD-3-Clause
#include "apps/training_simulation.hpp"

#include "apps/command_line.hpp"
#include "apps/placement_candidates.hpp"
#include "apps/training_needs.hpp"
#include "apps/training_workload.hpp"
#include "runtime/model/expert_waves.hpp"
#include "runtime/sim/cluster_scaling.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::apps {
namespace {

double core_hours(const sim::Workload& w, const SimulatedPoint& point) {
  const double saves = w.checkpoint_every > 0 ? 1000.0 / static_cast<double>(w.checkpoint_every) : 0.0;
  const double seconds = 1000.0 * point.price.step_s + saves * point.price.checkpoint_s;
  return seconds * static_cast<double>(point.ranks * w.threads) / 3600.0;
}

// Where a run may move its experts to, by the loads of all cases together.
std::vector<experts::Placement> moved_experts(const SettledTraining& s, Index ranks) {
  if (s.training.placement != train::ExpertPlacement::automatic || s.loads.empty()) return {};
  std::vector<double> loads(static_cast<std::size_t>(s.workload.moe.num_experts()));
  for (const sim::ExpertLoads& of_case : s.loads) {
    for (std::size_t e = 0; e < loads.size(); ++e) {
      loads[e] += of_case.rows[e].mean * static_cast<double>(s.workload.moe.experts[e].parameters);
    }
  }
  return candidate_placements(loads, ranks, s.training.placement_replicas);
}

}  // namespace

void describe(TrainingSimulation& o, OptionTable& table) {
  table.add("cluster", o.cluster, cluster_help());
  table.add("machine", o.machine,
            "what was measured of a node, as a calibration wrote it; without, products take flops over the cluster's "
            "rank_flops_per_s and nothing else takes time");
  table.add("routing", o.routing.trace, "a file of conclave train --record-routing: where tokens went");
  table.add("skew", o.routing.skew,
            "or made-up popularity of experts: uniform, zipf:EXPONENT or gini:COEFFICIENT; even uniform has a fullest "
            "expert");
  table.add("bound", o.bound,
            "price exchanges by the busiest resource and the number of rounds, also where there are few enough ranks "
            "to follow each message");
  table.add("json", o.json, "print one JSON object in place of the table");
}

void settle_loads(SettledTraining& s) {
  if (s.workload.moe_blocks == 0) return;
  if (!s.recorded) s.recorded = recorded_routing(s.routing);
  s.loads = expert_loads(s.routing, s.recorded.get(), s.training, s.workload);
}

SettledTraining settled(TrainingSimulation o, const Session& session) {
  refuse_unused(session, options_beside_the_step());
  const auto samples = settle(o.training, session);
  SettledTraining s;
  s.shape = samples->shape();
  s.training = o.training.train;
  s.routing = o.routing;
  s.bound = o.bound;
  train::agreed(session.world, [&] {
    s.cluster = cluster_of(o.cluster);
    s.workload = training_workload(s.training, s.shape);
    if (!o.machine.empty()) s.machine = sim::read_machine(read_file(o.machine), o.machine);
    settle_loads(s);
  });
  return s;
}

Index waves_of(const sim::Workload& w, const plan::RowTransport& transport) {
  const Index most_experts = even_share(w.moe.num_experts(), transport.num_ranks, 0).size();
  return model::ExpertWaves::count(most_experts, transport.waves);
}

PlacedTraining placed(const SettledTraining& s, Index ranks, const comm::Communicator& world) {
  const sim::Cluster cluster = sim::scaled_to(s.cluster, ranks);
  const auto topology = plan::Topology::filled(ranks, cluster.ranks_per_node);
  PlacedTraining p{sim::Network(cluster), s.workload,
                   model::planned_row_transport(s.training.transport, world, topology, RankId{0})};
  p.workload.transport.waves = waves_of(p.workload, p.transport);
  std::vector<experts::Placement> placements = moved_experts(s, ranks);
  const auto step_s = [&](const experts::Placement& placement) {
    return sim::price_training_step(case_of(s, p, &placement)).step_s;
  };
  if (placements.size() == 1) {
    p.moved = std::move(placements.front());
  } else if (!placements.empty()) {
    p.moved = *std::ranges::min_element(placements, {}, step_s);
  }
  return p;
}

sim::TrainingCase case_of(const SettledTraining& s, const PlacedTraining& p, const experts::Placement* placement) {
  if (placement == nullptr && p.moved) placement = &*p.moved;
  std::span<const experts::Placement> placements;
  if (placement != nullptr) placements = {placement, 1};
  return {p.workload, p.network,  s.machine ? &*s.machine : nullptr,
          s.loads,    placements, s.bound ? 0 : sim::most_scheduled_ranks};
}

SimulatedPoint simulated_on(const SettledTraining& s, Index ranks, const comm::Communicator& world,
                            const experts::Placement* placement) {
  const PlacedTraining p = placed(s, ranks, world);
  const sim::Cluster& cluster = p.network.cluster();
  SimulatedPoint point;
  point.ranks = ranks;
  point.nodes = cluster.nodes;
  point.price = sim::price_training_step(case_of(s, p, placement));
  point.memory_bytes = sampled_rank_bytes(s.training, s.shape, p.transport, p.workload.threads);
  const double of_node = point.memory_bytes * static_cast<double>(cluster.ranks_per_node);
  point.fits = std::isnan(cluster.node_memory_bytes) || of_node <= cluster.node_memory_bytes;
  point.core_hours = core_hours(p.workload, point);
  return point;
}

std::string limit_text(const SimulatedPoint& point) {
  return point.price.limit + (point.fits ? "" : "; does not fit: the node's memory is less");
}

std::string interval_text(const sim::TrainingPrice& price) {
  if (!(price.high_s > price.low_s)) return "";
  return fmt::format("+- {:.1f} %", 100.0 * 0.5 * (price.high_s - price.low_s) / price.step_s);
}

std::string calibration_text(const SettledTraining& s) {
  if (!s.machine) return "  not calibrated: products at the cluster's rank_flops_per_s; nothing was measured\n";
  const sim::Provenance& from = s.machine->provenance;
  return fmt::format("  calibrated on {} ({}), {}; +-: 9 of 10 steps\n", from.host, from.cpu, from.when);
}

void add_calibration(const SettledTraining& s, Json& object) {
  object["calibrated"] = s.machine.has_value();
  if (s.machine) object["measured_on"] = s.machine->provenance.host;
}

}  // namespace conclave::apps
