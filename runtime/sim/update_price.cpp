// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/update_price.hpp"

#include "runtime/core/at.hpp"
#include "runtime/sim/gather_price.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace conclave::sim {
namespace {

std::vector<ReducedRun> runs_of(const Workload& w) {
  return w.reduced_runs.empty() ? std::vector<ReducedRun>{{.elements = w.replicated_parameters}} : w.reduced_runs;
}

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

// What gradients on their way cost the work that there is so far, which hides them.
void add_busy(const RankSpeed& speed, double busy_s, StepSum& sum) {
  const double all_s = speed.seconds(sum.work);
  if (!(busy_s > 0.0 && all_s > 0.0)) return;
  for (const auto& entry : enum_names(Phase{})) {
    sum.add_busy(entry.value, busy_s * speed.seconds(entry.value, of(sum.work, entry.value)) / all_s);
  }
  sum.path.push_back({"backward, for gradients meanwhile on their way", busy_s, "processors"});
}

// Prices runs of parameters, of which many are alike.
class RunPrices {
 public:
  RunPrices(const TrainingCase& t, const plan::ReducePlan& plan) : t_(t), all_(reduction_traffic(plan)) {}
  const RowExchangePrice& of(Index elements) {
    constexpr double block_bytes = element_bytes * plan::ReducePlan::block_elements;
    const auto [place, is_new] = prices_.try_emplace(elements);
    if (is_new) {
      const double share = static_cast<double>(elements) / static_cast<double>(t_.workload.replicated_parameters);
      place->second = price_rows(t_.network, t_.machine, t_.workload.transport.exchange,
                                 {all_.scaled(share), block_bytes, 1.0, t_.scheduled_up_to});
    }
    return place->second;
  }

 private:
  const TrainingCase& t_;
  Traffic all_;
  std::map<Index, RowExchangePrice> prices_;
};

// The sums of a run of parameters leave as soon as backward has come past them, one run after another, while links are
// idle, and make backward take longer while it hides them; the last run's nothing hides.
void add_reduction(const TrainingCase& t, const RankSpeed& speed, const plan::ReducePlan& plan,
                   const BlockBackward& backward, StepSum& sum, StepLog* log) {
  if (plan.num_ranks() == 1 || plan.num_blocks() == 0) return;
  const std::vector<ReducedRun> runs = runs_of(t.workload);
  RunPrices prices(t, plan);
  double all_s = 0.0;
  double busy_s = 0.0;
  for (const ReducedRun& run : runs) {
    all_s += prices.of(run.elements).time_s;
    busy_s += prices.of(run.elements).busy_s;
  }
  double end_s = -std::numeric_limits<double>::infinity();  // of the runs so far, where backward ends at 0
  for (const ReducedRun& run : runs) {
    const double after_s = static_cast<double>(run.blocks_after) * (backward.attention_s + backward.other_s) +
                           run.attention_after * backward.attention_s;
    const RowExchangePrice& price = prices.of(run.elements);
    end_s = std::max(end_s, -after_s) + price.time_s;
    if (log != nullptr) log->reductions.push_back({end_s - price.time_s, end_s});
  }
  const double last_s = prices.of(runs.back().elements).time_s;
  const double seen_s = std::clamp(end_s, 0.0, all_s);
  busy_s = all_s > 0.0 ? busy_s * (all_s - seen_s) / all_s : 0.0;
  const double exposed_s = std::max(std::min(last_s, seen_s), seen_s - busy_s);
  const auto passes = static_cast<double>(t.workload.passes);
  sum.add_exchange(passes * exposed_s, passes * all_s, prices.of(runs.back().elements).bottleneck,
                   "gradients on their way, the last ones");
  add_busy(speed, passes * busy_s, sum);
  if (log == nullptr) return;
  for (auto& [begin_s, run_end_s] : log->reductions) {
    begin_s -= end_s;
    run_end_s -= end_s;
  }
  log->exposed_reduction_s = busy_s + exposed_s;
}

// [num_ranks] parameters of the experts that each rank is the home of.
std::vector<double> owned_parameters(const Workload& w, std::span<const experts::Placement> placements) {
  std::vector<double> owned(at(placements.front().num_ranks));
  const double blocks = static_cast<double>(w.moe_blocks) / static_cast<double>(placements.size());
  for (const experts::Placement& placement : placements) {
    for (std::size_t e = 0; e < placement.hosts.size(); ++e) {
      owned[at(placement.hosts[e].front().value())] += blocks * static_cast<double>(w.moe.experts[e].parameters);
    }
  }
  return owned;
}

void add_optimizer(const TrainingCase& t, const RankSpeed& speed, const plan::ReducePlan& plan,
                   std::span<const experts::Placement> placements, StepSum& sum, StepLog* log) {
  const Workload& w = t.workload;
  const Index ranks = t.network.num_ranks();
  const std::vector<double> of_experts = owned_parameters(w, placements);
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

// The updated slices, a run after another.
void add_gathering(const TrainingCase& t, StepSum& sum, StepLog* log) {
  std::map<Index, GatheringPrice> prices;  // by elements: many runs are alike
  double all_s = 0.0;
  const GatheringPrice* longest = nullptr;
  for (const ReducedRun& run : runs_of(t.workload)) {
    const auto [place, is_new] = prices.try_emplace(run.elements);
    if (is_new) place->second = price_gathering(t.network, t.machine, run.elements);
    all_s += place->second.time_s;
    if (longest == nullptr || place->second.time_s > longest->time_s) longest = &place->second;
  }
  if (longest == nullptr || all_s == 0.0) return;
  sum.add_exchange(all_s, all_s, longest->bottleneck, "parameters gathered");
  if (log != nullptr) log->gathering_s = all_s;
}

// What the hosts of replicated experts have for one another: in each pass partial sums of gradients for home, once the
// values from there. Of one layer with a placement, by the mean of these cases of loads.
struct ReplicaPrice {
  double all_s = 0.0;
  std::string bottleneck{};
};
ReplicaPrice price_replicas(const TrainingCase& t, const experts::Placement& placement,
                            std::span<const ExpertLoads> cases) {
  const Workload& w = t.workload;
  if (placement.num_replicas() == 0) return {};
  Traffic sums(t.network.num_ranks());
  Traffic values(t.network.num_ranks());
  double message_bytes = 0.0;
  for (std::size_t e = 0; e < placement.hosts.size(); ++e) {
    const std::vector<RankId>& hosts = placement.hosts[e];
    if (hosts.size() == 1) continue;
    const double bytes = element_bytes * static_cast<double>(w.moe.experts[e].parameters);
    message_bytes = std::max(message_bytes, bytes);
    double rows = 0.0;
    for (const ExpertLoads& loads : cases) rows += loads.rows[e].mean / static_cast<double>(cases.size());
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
  return {static_cast<double>(w.passes) * of_sums.time_s + price(values).time_s, of_sums.bottleneck};
}

// Layer by layer; next to nothing hides it.
void add_replicas(const TrainingCase& t, std::span<const experts::Placement> placements, StepSum& sum, StepLog* log) {
  if (t.loads.empty()) return;
  const double blocks = static_cast<double>(t.workload.moe_blocks) / static_cast<double>(placements.size());
  double all_s = 0.0;
  double largest_s = 0.0;
  std::string bottleneck;
  for (std::size_t p = 0; p < placements.size(); ++p) {
    const ReplicaPrice price =
        price_replicas(t, placements[p], placements.size() == 1 ? t.loads : t.loads.subspan(p, 1));
    all_s += blocks * price.all_s;
    if (price.all_s <= largest_s) continue;
    largest_s = price.all_s;
    bottleneck = price.bottleneck;
  }
  if (all_s == 0.0) return;
  sum.add_exchange(all_s, all_s, bottleneck, "gradients and values of replicas");
  if (log != nullptr) log->replicas_s = all_s;
}

// The gradient's norm, and the two messages of a step's report: trees of log2 P.
void add_small_messages(const TrainingCase& t, StepSum& sum, StepLog* log) {
  constexpr double collectives = 3.0;
  if (t.network.num_ranks() == 1) return;
  const double depth = std::ceil(std::log2(static_cast<double>(t.network.num_ranks())));
  const double all_s = collectives * depth * small_message_s(t);
  sum.add_exchange(all_s, all_s, "latency", "gradient's norm and the report");
  if (log != nullptr) log->small_messages_s = all_s;
}

}  // namespace

Loads gradient_loads(const Network& network, const plan::ReducePlan& plan) {
  return network.loads(reduction_traffic(plan));
}

void add_update(const TrainingCase& t, const RankSpeed& speed, const plan::ReducePlan& plan,
                std::span<const experts::Placement> placements, const BlockBackward& backward, StepSum& sum,
                StepLog* log) {
  add_reduction(t, speed, plan, backward, sum, log);
  add_optimizer(t, speed, plan, placements, sum, log);
  add_gathering(t, sum, log);
  add_replicas(t, placements, sum, log);
  add_small_messages(t, sum, log);
}

}  // namespace conclave::sim
