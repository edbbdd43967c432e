// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/training_price.hpp"

#include "comm/plan/pairwise.hpp"
#include "runtime/core/at.hpp"
#include "runtime/sim/layer_price.hpp"
#include "runtime/sim/rounds.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

constexpr double backward_share = 1.0 - forward_share;  // of what a group goes through by itself

/// What the slowest rank of each part of a step takes for it.
struct ComputeParts {
  double groups_s = 0.0;  // what groups go through by themselves
  double routing_s = 0.0;
  double experts_s = 0.0;
  double reduce_s = 0.0;
  double optimizer_s = 0.0;
};

/// The sum of what a step is made of, while it is put together.
struct Sum {
  PhaseWork work{};  // mean over ranks
  Spread compute;    // one part after another
  ComputeParts parts;
  double exposed_s = 0.0;  // communication that nothing hides
  double communication_s = 0.0;
  std::string bottleneck{};  // of the exposed exchange that takes longest
  double longest_exchange_s = 0.0;
  std::vector<PathPart> path{};

  void add(const Spread& part, std::string what, std::string binding) {
    compute.mean_s += part.mean_s;
    compute.max_s += part.max_s;
    path.push_back({std::move(what), part.max_s, std::move(binding)});
  }
  void add_exchange(double exposed, double all_s, const std::string& limited_by, std::string what) {
    communication_s += all_s;
    add_exposed(exposed, limited_by, std::move(what));
  }
  void add_exposed(double exposed, const std::string& limited_by, std::string what) {
    exposed_s += exposed;
    if (exposed > 0.0) path.push_back({std::move(what), exposed, limited_by});
    if (exposed <= longest_exchange_s) return;
    longest_exchange_s = exposed;
    bottleneck = limited_by;
  }
};

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
  if (layer.experts.max_s - layer.experts.mean_s <= all.worst_s) return;
  all.worst_s = layer.experts.max_s - layer.experts.mean_s;
  all.fullest = layer.fullest;
  all.fullest_rank = layer.experts.slowest;
}

// One MoE layer on average over the cases of its loads. Returns what backward takes.
double add_layers(const TrainingCase& t, const RankSpeed& speed, const experts::Placement& placement, Sum& sum,
                  TrainingPrice& price, StepLog* log) {
  const Workload& w = t.workload;
  const auto blocks = static_cast<double>(w.moe_blocks * w.passes) / static_cast<double>(t.loads.size());
  double backward_s = 0.0;
  Layers all;
  for (const ExpertLoads& loads : t.loads) {
    const LayerPrice layer = price_layer(t, speed, placement, loads, log);
    for (std::size_t p = 0; p < num_phases; ++p) sum.work[p] += layer.work[p].scaled(blocks);
    add_layer(layer, blocks, all);
    backward_s += blocks / static_cast<double>(w.passes) * layer.backward_s;
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
  sum.add_exposed(all.backward.seconds, all.backward.bottleneck, "rows on their way, backward");
  price.slowest = all.fullest_rank;
  return backward_s;
}

Spread add_groups(const TrainingCase& t, const RankSpeed& speed, Sum& sum, StepLog* log) {
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

// --- Reduction and update ---

// A rank sends each of its partial sums in whole blocks, each rank its slice.
Traffic reduction_traffic(const plan::ReducePlan& plan) {
  constexpr double block_bytes = element_bytes * plan::ReducePlan::block_elements;
  TrafficTerm term;
  for (RankId rank; rank < RankId{plan.num_ranks()}; ++rank) {
    term.sent.push_back(static_cast<double>(std::ssize(plan.pieces_of(rank)) * plan.num_blocks()) * block_bytes);
    term.popularity.push_back(static_cast<double>(plan.blocks_of(rank).size()) /
                              static_cast<double>(std::max<Index>(1, plan.num_blocks())));
  }
  Traffic traffic(plan.num_ranks());
  traffic.add(std::move(term));
  return traffic;
}

// The sums of a run of parameters leave as soon as backward has them; the last run's nothing hides.
void add_reduction(const TrainingCase& t, const plan::ReducePlan& plan, double backward_s, Sum& sum, StepLog* log) {
  if (plan.num_ranks() == 1 || plan.num_blocks() == 0) return;
  const auto runs = static_cast<double>(t.workload.reduced_runs);
  const auto passes = static_cast<double>(t.workload.passes);
  constexpr double block_bytes = element_bytes * plan::ReducePlan::block_elements;
  const Traffic of_run = reduction_traffic(plan).scaled(1.0 / runs);
  const RowExchangePrice price =
      price_rows(t.network, t.machine, t.workload.transport.exchange, {of_run, block_bytes, 1.0, t.scheduled_up_to});
  const double exposed_s = std::max(price.time_s, runs * price.time_s - backward_s);
  sum.add_exchange(passes * exposed_s, passes * runs * price.time_s, price.bottleneck,
                   "gradients on their way, the last ones");
  if (log == nullptr) return;
  log->reduction_s = price.time_s;
  log->exposed_reduction_s = exposed_s;
}

// [num_ranks] parameters of the experts that each rank is the home of.
std::vector<double> owned_parameters(const Workload& w, const experts::Placement& placement) {
  std::vector<double> owned(at(placement.num_ranks));
  for (std::size_t e = 0; e < placement.hosts.size(); ++e) {
    owned[at(placement.hosts[e].front().value())] += static_cast<double>(w.moe_blocks * w.moe.experts[e].parameters);
  }
  return owned;
}

void add_update(const TrainingCase& t, const RankSpeed& speed, const plan::ReducePlan& plan,
                const experts::Placement& placement, Sum& sum, StepLog* log) {
  const Workload& w = t.workload;
  const Index ranks = t.network.num_ranks();
  const std::vector<double> of_experts = owned_parameters(w, placement);
  const auto passes = static_cast<double>(w.passes);
  Spread reduce;
  Spread update;
  for (RankId rank; rank < RankId{ranks}; ++rank) {
    const double owned = static_cast<double>(plan.slice_of(rank).size()) + of_experts[at(rank.value())];
    const Work of_reduce = reduce_work(w, plan, rank).scaled(passes);
    const Work of_update = update_work(w, owned);
    of(sum.work, Phase::reduce) += of_reduce.scaled(1.0 / static_cast<double>(ranks));
    of(sum.work, Phase::optimizer) += of_update.scaled(1.0 / static_cast<double>(ranks));
    const double slower = 1.0 / speed.factor(t.network.cluster().node_of(rank));
    for (const auto& [spread, seconds] : {std::pair{&reduce, speed.seconds(Phase::reduce, of_reduce)},
                                          std::pair{&update, speed.seconds(Phase::optimizer, of_update)}}) {
      spread->mean_s += slower * seconds / static_cast<double>(ranks);
      if (slower * seconds <= spread->max_s) continue;
      spread->max_s = slower * seconds;
      spread->slowest = rank;
    }
  }
  sum.parts.reduce_s = reduce.max_s;
  sum.parts.optimizer_s = update.max_s;
  sum.add(reduce, "gradients summed", fmt::format("rank {}", reduce.slowest.value()));
  sum.add(
      update, "optimizer",
      fmt::format("rank {}: {:.4g} parameters", update.slowest.value(),
                  static_cast<double>(plan.slice_of(update.slowest).size()) + of_experts[at(update.slowest.value())]));
  if (log != nullptr) log_update(t, speed, plan, of_experts, {reduce.slowest, update.slowest}, *log);
}

// --- Messages of a step beside rows and sums ---

bool measured_on_node(const TrainingCase& t) {
  return t.machine != nullptr && t.machine->node && t.network.cluster().nodes == 1;
}

double small_message_s(const TrainingCase& t) {
  if (measured_on_node(t)) return t.machine->node->eager.latency_s.value + 2.0 * t.machine->node->post_s.value;
  return t.network.latency_s(RankId{0}, RankId{t.network.num_ranks() - 1});
}

// The updated slices, a run after another: in a ring, as MPI libraries gather large arrays.
void add_gathering(const TrainingCase& t, Sum& sum, StepLog* log) {
  const Index ranks = t.network.num_ranks();
  const auto runs = static_cast<double>(t.workload.reduced_runs);
  const double bytes =
      element_bytes * static_cast<double>(t.workload.replicated_parameters) / (runs * static_cast<double>(ranks));
  if (ranks == 1 || bytes == 0.0) return;
  double round_s = 0.0;
  std::string bottleneck = "messages within nodes";
  if (measured_on_node(t)) {
    const MessageLine& line = t.machine->node->line(bytes);
    round_s = line.latency_s.value + bytes / line.Bps.value + 2.0 * t.machine->node->post_s.value;
  } else {
    std::vector<Pair> messages;
    for (RankId rank; rank < RankId{ranks}; ++rank) {
      messages.push_back({static_cast<std::uint32_t>(rank.value()),
                          static_cast<std::uint32_t>(plan::cyclic_round(ranks, rank, 1).to.value()), bytes});
    }
    RoundClock clock(t.network);
    clock.advance(messages);
    round_s = clock.time_s();
    bottleneck = t.network.name(clock.busiest_resource());
  }
  const double all_s = runs * static_cast<double>(ranks - 1) * round_s;
  sum.add_exchange(all_s, all_s, bottleneck, "parameters gathered");
  if (log != nullptr) log->gathering_s = all_s;
}

// What the hosts of replicated experts have for one another: in each pass partial sums of gradients for home, once the
// values from there; layer by layer, all cases of loads alike. Next to nothing hides it.
void add_replicas(const TrainingCase& t, const experts::Placement& placement, Sum& sum, StepLog* log) {
  const Workload& w = t.workload;
  if (placement.num_replicas() == 0 || t.loads.empty()) return;
  Traffic sums(t.network.num_ranks());
  Traffic values(t.network.num_ranks());
  double message_bytes = 0.0;
  for (std::size_t e = 0; e < placement.hosts.size(); ++e) {
    const std::vector<RankId>& hosts = placement.hosts[e];
    if (hosts.size() == 1) continue;
    const double bytes = element_bytes * static_cast<double>(w.moe.experts[e].parameters);
    message_bytes = std::max(message_bytes, bytes);
    double rows = 0.0;
    for (const ExpertLoads& loads : t.loads) rows += loads.rows[e].mean / static_cast<double>(t.loads.size());
    const std::vector<experts::HostShare> shares = experts::host_shares(rows, std::ssize(hosts));
    const auto home = static_cast<std::uint32_t>(hosts.front().value());
    for (std::size_t h = 1; h < hosts.size(); ++h) {
      const auto host = static_cast<std::uint32_t>(hosts[h].value());
      sums.add({host, home, bytes * static_cast<double>(shares[h].sums)});
      values.add({home, host, bytes});
    }
  }
  const auto price = [&](const Traffic& traffic) {
    return price_rows(t.network, t.machine, "flat", {traffic, message_bytes, 1.0, t.scheduled_up_to});
  };
  const RowExchangePrice of_sums = price(sums);
  const double all_s =
      static_cast<double>(w.moe_blocks) * (static_cast<double>(w.passes) * of_sums.time_s + price(values).time_s);
  sum.add_exchange(all_s, all_s, of_sums.bottleneck, "gradients and values of replicas");
  if (log != nullptr) log->replicas_s = all_s;
}

// The gradient's norm, and the two messages of a step's report: trees of log2 P.
void add_small_messages(const TrainingCase& t, Sum& sum, StepLog* log) {
  constexpr double collectives = 3.0;
  if (t.network.num_ranks() == 1) return;
  const double depth = std::ceil(std::log2(static_cast<double>(t.network.num_ranks())));
  const double all_s = collectives * depth * small_message_s(t);
  sum.add_exchange(all_s, all_s, "latency", "gradient's norm and the report");
  if (log != nullptr) log->small_messages_s = all_s;
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

}  // namespace

TrainingPrice price_training_step(const TrainingCase& t, StepLog* log) {
  check(t.workload);
  invariant(t.workload.moe_blocks == 0 || !t.loads.empty(), "MoE blocks without loads");
  const RankSpeed speed(t.network.cluster(), t.machine, step_footprint(t.workload, t.network.num_ranks()));
  const Index ranks = t.network.num_ranks();
  const plan::ReducePlan plan = reduce_plan(t.workload, ranks);
  const experts::Placement placement =
      t.placement != nullptr ? *t.placement : experts::contiguous_placement(t.workload.moe.num_experts(), ranks);
  invariant(placement.num_ranks == ranks && placement.num_experts() == t.workload.moe.num_experts(),
            "a placement of {} experts on {} ranks for {} on {}", placement.num_experts(), placement.num_ranks,
            t.workload.moe.num_experts(), ranks);
  TrainingPrice price;
  Sum sum;
  const Spread groups = add_groups(t, speed, sum, log);
  price.slowest = groups.slowest;
  double backward_s = backward_share * groups.max_s;
  if (t.workload.moe_blocks > 0) backward_s += add_layers(t, speed, placement, sum, price, log);
  add_reduction(t, plan, backward_s, sum, log);
  add_update(t, speed, plan, placement, sum, log);
  add_gathering(t, sum, log);
  add_replicas(t, placement, sum, log);
  add_small_messages(t, sum, log);

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
    phase_s = speed.seconds(entry.value, of(sum.work, entry.value));
    named_s += phase_s;
  }
  // What slow hosts add to the mean is no phase's: others wait for it.
  price.phases_s[static_cast<std::size_t>(Phase::wait)] = price.step_s - named_s;
  price.imbalance_s = price.step_s - named_s - price.exposed_s;
  price.checkpoint_s = checkpoint_s(t);
  price.limit = limit_of(price, sum.bottleneck);
  tell_interval(t, speed, sum.work, price);
  tell_what_is_beyond(t, price);
  return price;
}

}  // namespace conclave::sim
