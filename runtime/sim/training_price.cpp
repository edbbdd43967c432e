// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/training_price.hpp"

#include "runtime/sim/layer_price.hpp"
#include "runtime/sim/update_price.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

constexpr double backward_share = 1.0 - forward_share;  // of what a group goes through by itself

// "rank 5: 3 groups", with its host's fault.
std::string groups_text(const TrainingCase& t, RankId rank) {
  const Index groups = even_share(t.workload.groups_in_pass(), t.network.num_ranks(), rank.value()).size();
  const double factor = t.network.cluster().host_factor(t.network.cluster().node_of(rank));
  return fmt::format("rank {}: {} of {} groups of a pass{}", rank.value(), groups, t.workload.groups_in_pass(),
                     factor < 1.0 ? fmt::format(", its host at {:.0f} %", 100.0 * factor) : "");
}

// --- Passes ---

// One exchange of a layer over the cases of its loads: what is exposed, and the resource of the worst case.
struct Exposed {
  double seconds = 0.0;
  double worst_s = -1.0;
  std::string bottleneck{};
  void add(double case_s, double blocks, const std::string& limited_by) {
    seconds += blocks * case_s;
    if (case_s <= worst_s) return;
    worst_s = case_s;
    bottleneck = limited_by;
  }
};

/// All MoE layers, before they are added to the step.
struct Layers {
  Spread routing;
  Spread experts;
  Exposed counts;
  Exposed forward;
  Exposed backward;
  double communication_s = 0.0;
  double busy_s = 0.0;
  double worst_s = -1.0;  // of the experts, over their mean
  std::string fullest{};
  RankId fullest_rank{};
};

void add_layer(const LayerPrice& layer, double blocks, Layers& all) {
  for (const auto& [sum, part] : {std::pair{&all.routing, layer.routing}, std::pair{&all.experts, layer.experts}}) {
    sum->mean_s += blocks * part.mean_s;
    sum->max_s += blocks * part.max_s;
    sum->slowest = part.slowest;
  }
  all.counts.add(layer.counts_s, blocks, layer.counts_bottleneck);
  all.forward.add(layer.exposed_forward_s, blocks, layer.forward_bottleneck);
  all.backward.add(layer.exposed_backward_s, blocks, layer.backward_bottleneck);
  all.communication_s += blocks * layer.communication_s;
  all.busy_s += blocks * layer.busy_s;
  if (layer.experts.max_s - layer.experts.mean_s <= all.worst_s) return;
  all.worst_s = layer.experts.max_s - layer.experts.mean_s;
  all.fullest = layer.fullest;
  all.fullest_rank = layer.experts.slowest;
}

// One MoE layer on average over the cases of its loads. Returns what a pass' backward takes while links are idle of
// rows.
double add_layers(const TrainingCase& t, const RankSpeed& speed, std::span<const experts::Placement> placements,
                  const Loads& gradients, StepSum& sum, TrainingPrice& price, StepLog* log) {
  const Workload& w = t.workload;
  const auto blocks = static_cast<double>(w.moe_blocks * w.passes) / static_cast<double>(t.loads.size());
  double idle_s = 0.0;
  Layers all;
  for (std::size_t c = 0; c < t.loads.size(); ++c) {
    const LayerPrice layer =
        price_layer(t, speed, placements[placements.size() == 1 ? 0 : c], t.loads[c], gradients, log);
    for (std::size_t p = 0; p < num_phases; ++p) sum.work[p] += layer.work[p].scaled(blocks);
    add_layer(layer, blocks, all);
    idle_s += blocks / static_cast<double>(w.passes) * layer.backward_idle_s;
    price.drop_rate += layer.drop_rate / static_cast<double>(t.loads.size());
    price.exchange = layer.exchange;
  }
  sum.communication_s += all.communication_s;
  sum.parts.routing_s = all.routing.max_s;
  sum.parts.experts_s = all.experts.max_s;
  sum.add(all.routing, "gate, rows gathered and combined", groups_text(t, all.routing.slowest));
  sum.add_exposed(all.counts.seconds, all.counts.bottleneck, "counts of rows told");
  sum.add_exposed(all.forward.seconds, all.forward.bottleneck, "rows on their way, forward");
  sum.add(all.experts, "experts", all.fullest);
  sum.add_busy(Phase::experts, all.busy_s);
  if (all.busy_s > 0.0) sum.path.push_back({"experts, for rows meanwhile on their way", all.busy_s, "processors"});
  sum.add_exposed(all.backward.seconds, all.backward.bottleneck, "rows on their way, backward");
  price.slowest = all.fullest_rank;
  return idle_s + backward_share * all.routing.max_s / static_cast<double>(w.passes);
}

Spread add_groups(const TrainingCase& t, const RankSpeed& speed, StepSum& sum, StepLog* log) {
  const Workload& w = t.workload;
  const auto passes = static_cast<double>(w.passes);
  Spread part = over_ranks(t, speed, [&](Index groups) { return speed.seconds(group_work(w, groups)); });
  const PhaseWork all = group_work(w, w.groups_in_pass());
  for (std::size_t p = 0; p < num_phases; ++p) {
    sum.work[p] += all[p].scaled(passes / static_cast<double>(t.network.num_ranks()));
  }
  sum.parts.groups_s = passes * part.max_s;
  sum.add({passes * part.mean_s, passes * part.max_s}, "attention, dense layers, head", groups_text(t, part.slowest));
  if (log != nullptr) log_groups(t, speed, part.slowest, *log);
  return part;
}

// Of a block, without experts: the slowest rank's groups of a pass, less what belongs to no block.
BlockBackward backward_of_blocks(const TrainingCase& t, const RankSpeed& speed, const Spread& groups) {
  const PhaseWork work = group_work(t.workload, t.workload.groups_in_pass());
  const double all_s = speed.seconds(work);
  if (!(all_s > 0.0)) return {};
  const auto of_block = [&](Phase phase) {
    return backward_share * groups.max_s * speed.seconds(phase, of(work, phase)) / all_s /
           static_cast<double>(t.workload.blocks());
  };
  return {of_block(Phase::attention), of_block(Phase::dense)};
}

// --- What is told ---

// Wherever ranks meet, the slowest of them since they last met sets the pace. They meet before and after the experts of
// every MoE layer, forward and backward, and around the reduction and the optimizer.
double noise_s(const TrainingCase& t, const ComputeParts& parts) {
  if (t.machine == nullptr) return 0.0;
  const Workload& w = t.workload;
  const auto passes = static_cast<double>(w.passes);
  const double layers = passes * static_cast<double>(w.moe_blocks);
  double deviations_s = 0.0;
  const auto meet = [&](double times, double seconds) {
    deviations_s += times * t.machine->noise.deviation_s(seconds / times);
  };
  if (w.moe_blocks == 0) meet(passes, parts.groups_s);
  for (const double share : {1.0 - backward_share, backward_share}) {
    if (w.moe_blocks == 0) break;
    meet(layers, share * (parts.groups_s + parts.routing_s));
    meet(layers, share * parts.experts_s);
  }
  meet(passes, parts.reduce_s);
  meet(1.0, parts.optimizer_s);
  return deviations_of_largest(t.network.num_ranks()) * deviations_s;
}

void tell_interval(const TrainingCase& t, const RankSpeed& speed, const PhaseWork& work, TrainingPrice& price) {
  const double drift_s = t.machine == nullptr ? 0.0 : t.machine->drift_sigma * price.step_s;
  double variance = drift_s * drift_s;
  for (const auto& entry : enum_names(Phase{})) {
    if (t.machine == nullptr) break;
    const double residual = t.machine->residual_sigma[static_cast<std::size_t>(entry.value)];
    const double sigma =
        residual > 0.0 ? residual * price.of(entry.value) : speed.deviation_s(entry.value, of(work, entry.value));
    variance += sigma * sigma;
  }
  const double half_s = deviations_of_90 * std::sqrt(variance);
  price.low_s = std::max(0.0, price.step_s - half_s);
  price.high_s = price.step_s + half_s;
}

// What takes longest: a phase, what is exposed of communication, or waiting for the slowest rank.
std::string limit_of(const TrainingPrice& price, const std::string& bottleneck) {
  double longest_s = price.exposed_s;
  std::string limit = bottleneck.empty() ? std::string{} : fmt::format("communication: {}", bottleneck);
  const auto consider = [&](double seconds, std::string name) {
    if (seconds <= longest_s) return;
    longest_s = seconds;
    limit = std::move(name);
  };
  consider(price.imbalance_s, "waiting for the slowest rank");
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value != Phase::wait) consider(price.of(entry.value), std::string(entry.name));
  }
  return limit;
}

// All ranks write at once: a node's as fast as one was measured to write, all nodes no faster than the file system.
double checkpoint_s(const TrainingCase& t) {
  const Cluster& cluster = t.network.cluster();
  const double bytes = t.workload.checkpoint_bytes();
  double time_s = 0.0;
  if (t.machine != nullptr && t.machine->file) {
    time_s = t.machine->file->latency_s.value +
             bytes / static_cast<double>(cluster.nodes) / t.machine->file->write_Bps.value;
  }
  if (!std::isnan(cluster.file_system_Bps)) time_s = std::max(time_s, bytes / cluster.file_system_Bps);
  return time_s;
}

void tell_what_is_beyond(const TrainingCase& t, TrainingPrice& price) {
  const Machine* m = t.machine;
  if (m == nullptr) return;
  const Index active = t.network.cluster().ranks_per_node;
  if (m->is_beyond(active)) {
    const Index taken = m->rates(active).active_ranks;
    price.notes.push_back(fmt::format("not so many busy ranks a node were measured: the rates of {} are taken", taken));
  }
  if (m->rates(active).threads != t.workload.threads) {
    price.notes.push_back(fmt::format("rates were measured with {} threads a rank, not {}", m->rates(active).threads,
                                      t.workload.threads));
  }
  if (t.network.cluster().nodes > 1 && !m->network) {
    price.notes.push_back("messages between nodes were not measured: they cost what the cluster's description says");
  }
}

void check_placements(const TrainingCase& t, std::span<const experts::Placement> placements) {
  const Index ranks = t.network.num_ranks();
  const Index experts = t.workload.moe.num_experts();
  invariant(placements.size() == 1 || placements.size() == t.loads.size(), "{} placements for {} cases of loads",
            placements.size(), t.loads.size());
  for (const experts::Placement& placement : placements) {
    invariant(placement.num_ranks == ranks && placement.num_experts() == experts,
              "a placement of {} experts on {} ranks for {} on {}", placement.num_experts(), placement.num_ranks,
              experts, ranks);
  }
}

}  // namespace

TrainingPrice price_training_step(const TrainingCase& t, StepLog* log) {
  check(t.workload);
  invariant(t.workload.moe_blocks == 0 || !t.loads.empty(), "MoE blocks without loads");
  const RankSpeed speed(t.network.cluster(), t.machine, step_footprint(t.workload, t.network.num_ranks()));
  const Index ranks = t.network.num_ranks();
  std::vector<experts::Placement> even_runs;
  if (t.placements.empty()) even_runs = {experts::contiguous_placement(t.workload.moe.num_experts(), ranks)};
  const std::span<const experts::Placement> placements = t.placements.empty() ? even_runs : t.placements;
  check_placements(t, placements);
  TrainingPrice price;
  StepSum sum;
  const Spread groups = add_groups(t, speed, sum, log);
  price.slowest = groups.slowest;
  BlockBackward backward = backward_of_blocks(t, speed, groups);
  const plan::ReducePlan plan = reduce_plan(t.workload, ranks);
  if (t.workload.moe_blocks > 0) {
    backward.other_s += add_layers(t, speed, placements, gradient_loads(t.network, plan), sum, price, log) /
                        static_cast<double>(t.workload.blocks());
  }
  add_update(t, speed, plan, placements, backward, sum, log);

  const double noise = noise_s(t, sum.parts);
  if (noise > 0.0) sum.path.push_back({"noise", noise, fmt::format("the slowest of {} ranks, step by step", ranks)});
  if (log != nullptr) log->noise_s = noise;
  price.step_s = sum.compute.max_s + noise + sum.exposed_s;
  price.path = std::move(sum.path);
  price.exposed_s = sum.exposed_s;
  price.communication_s = sum.communication_s;
  double named_s = 0.0;
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    double& phase_s = price.phases_s[static_cast<std::size_t>(entry.value)];
    phase_s = speed.seconds(entry.value, of(sum.work, entry.value)) + sum.busy_s[static_cast<std::size_t>(entry.value)];
    named_s += phase_s;
  }
  // What slow hosts add to the mean is no phase's: others wait for it.
  price.phases_s[static_cast<std::size_t>(Phase::wait)] = price.step_s - named_s;
  price.imbalance_s = std::max(0.0, price.step_s - named_s - price.exposed_s);  // rounding may leave less than nothing
  price.checkpoint_s = checkpoint_s(t);
  price.limit = limit_of(price, sum.bottleneck);
  tell_interval(t, speed, sum.work, price);
  tell_what_is_beyond(t, price);
  return price;
}

}  // namespace conclave::sim
