// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/layer_price.hpp"

#include "runtime/core/at.hpp"
#include "runtime/sim/early_results.hpp"
#include "runtime/sim/row_copies.hpp"

#include <algorithm>
#include <cmath>

namespace conclave::sim {
namespace {

constexpr double count_bytes = sizeof(Index);

// --- Experts ---

/// An expert's time on a whole host.
struct ExpertTime {
  double always_s = 0.0;
  double of_row_s = 0.0;
};

struct Shard {
  std::vector<Moments> seconds;  // [num_ranks]
  std::vector<Moments> rows;     // [num_ranks]
  double mean_s = 0.0;
  Work work{};       // mean
  RankId slowest{};  // on average
};

// "rank 17: its expert 3 of layer 8 has 4.1 times the mean load", or what else makes it the slowest.
std::string reason_of(const TrainingCase& t, const experts::Placement& placement, const ExpertLoads& loads,
                      const Shard& shard, double largest_s) {
  const double mean_rows = loads.kept() / static_cast<double>(loads.rows.size());
  std::size_t hottest = loads.rows.size();
  for (std::size_t e = 0; e < loads.rows.size(); ++e) {
    if (std::ranges::count(placement.hosts[e], shard.slowest) == 0) continue;
    if (hottest == loads.rows.size() || loads.rows[e].mean > loads.rows[hottest].mean) hottest = e;
  }
  if (hottest == loads.rows.size() || mean_rows == 0.0) return {};
  const double of_mean = shard.seconds[at(shard.slowest.value())].mean / shard.mean_s;
  std::string text =
      fmt::format("rank {}: its expert {}{} has {:.2f} times the mean load, its shard {:.2f} times the mean time",
                  shard.slowest.value(), hottest, loads.name.empty() ? "" : " of " + loads.name,
                  loads.rows[hottest].mean / mean_rows, of_mean);
  const double factor = t.network.cluster().host_factor(t.network.cluster().node_of(shard.slowest));
  if (factor < 1.0) text += fmt::format(", its host is at {:.0f} %", 100.0 * factor);
  const double by_chance = largest_s / (of_mean * shard.mean_s) - 1.0;
  if (by_chance >= 0.005) text += fmt::format("; the fullest by chance {:.1f} % more", 100.0 * by_chance);
  return text;
}

// Of an expert's rows, its hosts' shares.
std::vector<double> shares_of_hosts(double rows, Index num_hosts) {
  if (num_hosts == 1 || rows <= 0.0) return std::vector<double>(at(num_hosts), 1.0 / static_cast<double>(num_hosts));
  std::vector<double> shares;
  for (const experts::HostShare& share : experts::host_shares(rows, num_hosts)) shares.push_back(share.rows / rows);
  return shares;
}

// An expert that gets a row now and then costs what it always does as often.
Shard shard_of(const TrainingCase& t, const RankSpeed& speed, const experts::Placement& placement,
               const ExpertLoads& loads) {
  const Index ranks = t.network.num_ranks();
  const std::vector<FeedForwardSizes>& sizes = t.workload.moe.experts;
  Shard shard{std::vector<Moments>(at(ranks)), std::vector<Moments>(at(ranks)), 0.0, {}, {}};
  const FeedForwardSizes* last = nullptr;
  ExpertWork work;
  ExpertTime time;
  for (std::size_t e = 0; e < sizes.size(); ++e) {
    if (last == nullptr || *last != sizes[e]) {
      last = &sizes[e];
      work = expert_work(sizes[e]);
      time = {speed.seconds(Phase::experts, work.always), speed.seconds(Phase::experts, work.of_row)};
    }
    const std::vector<RankId>& hosts = placement.hosts[e];
    const std::vector<double> shares = shares_of_hosts(loads.rows[e].mean, std::ssize(hosts));
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      const RankId host = hosts[h];
      const Moments rows = loads.rows[e].scaled(shares[h]);
      const double active = rows.mean < 30.0 ? -std::expm1(-rows.mean) : 1.0;
      const double slower = 1.0 / speed.factor(t.network.cluster().node_of(host));
      Moments seconds = rows.scaled(time.of_row_s * slower);
      seconds.mean += active * time.always_s * slower;
      shard.seconds[at(host.value())] += seconds;
      shard.rows[at(host.value())] += rows;
      shard.work += work.always.scaled(active) + work.of_row.scaled(rows.mean);
      shard.mean_s += seconds.mean;
    }
  }
  const auto slowest = std::ranges::max_element(shard.seconds, {}, &Moments::mean);
  shard.slowest = RankId{slowest - shard.seconds.begin()};
  shard.mean_s /= static_cast<double>(ranks);
  shard.work = shard.work.scaled(1.0 / static_cast<double>(ranks));
  return shard;
}

// --- Rows on their way ---

// How much more than the fullest node's mean the fullest node has, on average.
double fullest_over_mean(const std::vector<Moments>& rows, Index ranks_per_node) {
  std::vector<Moments> nodes;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (r % at(ranks_per_node) == 0) nodes.emplace_back();
    nodes.back() += rows[r];
  }
  double largest = 0.0;
  for (const Moments& node : nodes) largest = std::max(largest, node.mean);
  return largest > 0.0 ? std::max(1.0, expected_max(nodes) / largest) : 1.0;
}

// By the experts that nodes host; a choice counts by its expert's rows.
double distinct_share_of(const TrainingCase& t, const experts::Placement& placement, const ExpertLoads& loads) {
  const Cluster& cluster = t.network.cluster();
  const double kept = loads.kept();
  const double choices = std::max(1.0, t.workload.moe.choices);
  std::vector<std::vector<NodeChoice>> nodes(at(cluster.nodes));
  for (std::size_t e = 0; e < loads.rows.size(); ++e) {
    const std::vector<RankId>& hosts = placement.hosts[e];
    const double chance = std::min(1.0, choices * loads.rows[e].mean / kept);
    const std::vector<double> shares = shares_of_hosts(loads.rows[e].mean, std::ssize(hosts));
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      nodes[at(cluster.node_of(hosts[h]).value())].push_back({chance, shares[h]});
    }
  }
  return distinct_share(nodes, static_cast<Index>(std::llround(choices)), 1.0 - loads.drop_rate());
}

struct LayerTraffic {
  Traffic rows;  // in rows
  double distinct = 1.0;
  EarlyResults early{};
};

// What a class of sources has for each expert, all ranks' parts of it.
TrafficTerm term_of(const TrainingCase& t, const experts::Placement& placement, std::span<const Moments> mean_rows,
                    std::span<const double> rows, Index source, Index classes) {
  const std::size_t ranks = at(t.network.num_ranks());
  TrafficTerm term{std::vector<double>(ranks), std::vector<double>(ranks)};
  double all = 0.0;
  for (const double of_expert : rows) all += of_expert;
  if (all == 0.0) return term;
  for (std::size_t e = 0; e < rows.size(); ++e) {
    const std::vector<RankId>& hosts = placement.hosts[e];
    const std::vector<double> shares = shares_of_hosts(mean_rows[e].mean, std::ssize(hosts));
    for (std::size_t h = 0; h < hosts.size(); ++h) term.popularity[at(hosts[h].value())] += shares[h] * rows[e] / all;
  }
  for (RankId rank; rank < RankId{t.network.num_ranks()}; ++rank) {
    term.sent[at(rank.value())] = all * share_of_class(t, rank, source, classes);
  }
  return term;
}

LayerTraffic traffic_of(const TrainingCase& t, const experts::Placement& placement, const Shard& shard,
                        const ExpertLoads& loads) {
  const Index mates = t.network.cluster().ranks_per_node;
  const double kept = loads.kept();
  LayerTraffic traffic{Traffic(t.network.num_ranks())};
  if (kept <= 0.0) return traffic;
  std::vector<std::vector<double>> sources = loads.by_source;
  if (sources.empty()) {
    sources.emplace_back();
    for (const Moments& rows : loads.rows) sources.back().push_back(rows.mean);
  }
  const Index classes = std::ssize(sources);
  for (Index source = 0; source < classes; ++source) {
    traffic.rows.add(term_of(t, placement, loads.rows, sources[at(source)], source, classes));
  }
  traffic.rows = traffic.rows.scaled(fullest_over_mean(shard.rows, mates));
  traffic.distinct = distinct_share_of(t, placement, loads);
  traffic.early = EarlyResults(t.network.cluster(), traffic.rows, shard.seconds);
  return traffic;
}

RowExchangePrice price_of(const TrainingCase& t, const Traffic& rows, double row_bytes, double distinct) {
  const Traffic bytes = rows.scaled(row_bytes / static_cast<double>(t.workload.transport.waves));
  return price_rows(t.network, t.machine, t.workload.transport.exchange,
                    {bytes, row_bytes, distinct, t.scheduled_up_to});
}

// In backward a link carries copies of dy and, the other way, dx. Gradients wait for the link that all these keep busy
// longest; of the busiest link's time with either, this one's.
struct LinkShares {
  double dy = 1.0;
  double dx = 1.0;
};
LinkShares shares_of_gradients_link(const TrainingCase& t, const Traffic& rows, const Traffic& back, double row_bytes,
                                    const Loads& gradients) {
  const Loads dy = t.network.loads(rows);
  const Loads dx = t.network.loads(back);
  const double bytes_of_pass = row_bytes * static_cast<double>(t.workload.moe_blocks);
  double longest_s = 0.0;
  double longest_dy = 0.0;
  double longest_dx = 0.0;
  LinkShares share;
  for (Index r = 0; r < gradients.size(); ++r) {
    if (t.network.is_bus(r)) continue;
    const double capacity = t.network.capacity_Bps(r);
    longest_dy = std::max(longest_dy, dy.bytes(r) / capacity);
    longest_dx = std::max(longest_dx, dx.bytes(r) / capacity);
    const double all_s = (gradients.bytes(r) + bytes_of_pass * (dy.bytes(r) + dx.bytes(r))) / capacity;
    if (!(gradients.bytes(r) > 0.0) || all_s <= longest_s) continue;
    longest_s = all_s;
    share = {dy.bytes(r) / capacity, dx.bytes(r) / capacity};
  }
  if (longest_s == 0.0) return {};
  return {longest_dy > 0.0 ? share.dy / longest_dy : 1.0, longest_dx > 0.0 ? share.dx / longest_dx : 1.0};
}

/// A layer's waves in one direction.
struct WavesPrice {
  WavesTime time;
  double out_s = 0.0;   // of a wave's results, what is on its way after all experts have theirs
  double rows_s = 0.0;  // of all rows on their way
};

WavesPrice price_waves(const TrainingCase& t, const LayerTraffic& traffic, const RowExchangePrice& in,
                       const RowExchangePrice& out, double results_s, double rest_s) {
  WavesPrice price{.time = {}, .out_s = out.time_s};
  if (in.way == Way::direct) price.out_s -= traffic.early.seconds({in.time_s, results_s, out.time_s});
  const Index waves = t.workload.transport.waves;
  price.time = time_of_waves(waves, {in.time_s, results_s, rest_s, price.out_s, in.busy_s + out.busy_s});
  price.rows_s = static_cast<double>(waves) * (in.time_s + price.out_s);
  return price;
}

void add_exchanges(const TrainingCase& t, const LayerTraffic& traffic, const ExpertLoads& loads, const Loads& gradients,
                   LayerPrice& price, StepLog* log) {
  const Workload& w = t.workload;
  const auto waves = static_cast<double>(w.transport.waves);
  const double row_bytes = static_cast<double>(w.width) * w.transport.wire_bytes;
  const Traffic back = traffic.rows.transposed();
  // Backward sends copies of dy, and what scales each, where results enter sums.
  const double weight_bytes = w.moe.merges_sums ? element_bytes : 0.0;
  const double distinct_dy = w.moe.merges_sums ? traffic.distinct : 1.0;
  const RowExchangePrice x = price_of(t, traffic.rows, row_bytes, traffic.distinct);
  const RowExchangePrice y = price_of(t, back, row_bytes, 1.0);
  const RowExchangePrice dy = price_of(t, traffic.rows, row_bytes + weight_bytes, distinct_dy);
  const RowExchangePrice dx = y;
  const double forward_s = forward_share * price.experts.max_s;
  const double backward_s = price.experts.max_s - forward_s;
  const WavesPrice forward = price_waves(t, traffic, x, y, forward_s / waves, 0.0);
  // Half of a wave's backward is its weights' gradients.
  const double half_s = 0.5 * backward_s / waves;
  const WavesPrice backward = price_waves(t, traffic, dy, dx, half_s, half_s);
  price.forward_s = forward.time.all_s;
  price.backward_s = backward.time.all_s;
  const LinkShares share =
      dy.way == Way::passed_on ? LinkShares{} : shares_of_gradients_link(t, traffic.rows, back, row_bytes, gradients);
  price.backward_idle_s = std::max(0.0, price.backward_s - waves * (share.dy * dy.time_s + share.dx * dx.time_s));
  price.communication_s = forward.rows_s + backward.rows_s + price.counts_s;
  price.exposed_forward_s = price.forward_s - forward_s - forward.time.busy_s;
  price.exposed_backward_s = price.backward_s - backward_s - backward.time.busy_s;
  price.busy_s = forward.time.busy_s + backward.time.busy_s;
  price.exchange = x.exchange;
  price.forward_bottleneck = y.time_s > x.time_s ? y.bottleneck : x.bottleneck;
  price.backward_bottleneck = dx.time_s > dy.time_s ? dx.bottleneck : dy.bottleneck;
  if (log == nullptr) return;
  log_transfer(t, loads, x.time_s, row_bytes, log->dispatch);
  log_transfer(t, loads, forward.out_s, row_bytes, log->combine);
  log_transfer(t, loads, dy.time_s, row_bytes + weight_bytes, log->d_combine);
  log_transfer(t, loads, backward.out_s, row_bytes, log->d_dispatch);
  log->forward_tail_s += forward.time.tail_s / static_cast<double>(t.loads.size());
  log->backward_tail_s += backward.time.tail_s / static_cast<double>(t.loads.size());
}

// As if messages cost the experts nothing.
WavesTime time_of_free_waves(Index waves, const WaveCosts& wave) {
  double wires_s = static_cast<double>(waves) * wave.in_s;  // when they are free of what was given to them
  double experts_s = 0.0;                                   // likewise
  for (Index w = 0; w < waves; ++w) {
    experts_s = std::max(experts_s, static_cast<double>(w + 1) * wave.in_s) + wave.results_s;
    wires_s = std::max(wires_s, experts_s) + wave.out_s;
    experts_s += wave.rest_s;
  }
  const double all_s = std::max(wires_s, experts_s);
  return {.all_s = all_s, .tail_s = all_s - experts_s};
}

}  // namespace

WavesTime time_of_waves(Index waves, const WaveCosts& wave) {
  const WavesTime free = time_of_free_waves(waves, wave);
  const double wires_s = wave.in_s + wave.out_s;
  const double experts_s = wave.results_s + wave.rest_s;
  if (!(wires_s > 0.0 && experts_s > 0.0)) return free;
  // The share of the wires' time in which experts compute is that of the bytes for which they take longer.
  const double hidden = 1.0 - std::min(1.0, (free.all_s / static_cast<double>(waves) - experts_s) / wires_s);
  const double busy_s = hidden * wave.busy_s;
  WaveCosts busy = wave;
  busy.results_s *= 1.0 + busy_s / experts_s;
  busy.rest_s *= 1.0 + busy_s / experts_s;
  WavesTime time = time_of_free_waves(waves, busy);
  time.busy_s = static_cast<double>(waves) * busy_s;
  return time;
}

Range groups_of(const TrainingCase& t, RankId rank) {
  return even_share(t.workload.groups_in_pass(), t.network.num_ranks(), rank.value());
}

double share_of_class(const TrainingCase& t, RankId rank, Index source, Index classes) {
  const Workload& w = t.workload;
  const Range of_class = even_share(w.groups, classes, source);
  const Range mine = groups_of(t, rank);
  Index common = 0;
  for (Index first = 0; first < w.groups; first += w.groups_in_pass()) {
    common += intersection({first + mine.begin, first + mine.end}, of_class).size();
  }
  return of_class.empty() ? 0.0 : static_cast<double>(common) / static_cast<double>(of_class.size());
}

Spread over_ranks(const TrainingCase& t, const RankSpeed& speed, FunctionRef<double(Index groups)> seconds_of) {
  Spread spread;
  Index last_groups = -1;
  double last_s = 0.0;
  const Index ranks = t.network.num_ranks();
  for (RankId rank; rank < RankId{ranks}; ++rank) {
    const Index groups = groups_of(t, rank).size();
    if (groups != last_groups) last_s = seconds_of(groups);
    last_groups = groups;
    const double seconds = last_s / speed.factor(t.network.cluster().node_of(rank));
    spread.mean_s += seconds / static_cast<double>(ranks);
    if (seconds <= spread.max_s) continue;
    spread.max_s = seconds;
    spread.slowest = rank;
  }
  return spread;
}

LayerPrice price_layer(const TrainingCase& t, const RankSpeed& speed, const experts::Placement& placement,
                       const ExpertLoads& loads, const Loads& gradients, StepLog* log) {
  const Workload& w = t.workload;
  const Index ranks = t.network.num_ranks();
  const double kept = loads.kept();
  const double kept_of_group = kept / static_cast<double>(w.groups_in_pass());
  LayerPrice price;
  const auto work_of = [&](Index groups) {
    return routing_work(w, groups, kept_of_group * static_cast<double>(groups));
  };
  price.routing = over_ranks(t, speed, [&](Index groups) { return speed.seconds(work_of(groups)); });
  price.work = work_of(w.groups_in_pass());
  for (Work& of_phase : price.work) of_phase = of_phase.scaled(1.0 / static_cast<double>(ranks));
  const Shard shard = shard_of(t, speed, placement, loads);
  of(price.work, Phase::experts) = shard.work;
  price.experts = {shard.mean_s, expected_max(shard.seconds), shard.slowest};
  price.fullest = reason_of(t, placement, loads, shard, price.experts.max_s);
  price.drop_rate = loads.drop_rate();
  if (ranks > 1) {
    const Traffic counts = Traffic::uniform(ranks, count_bytes * static_cast<double>(w.moe.num_experts()));
    const RowExchangePrice told =
        price_rows(t.network, t.machine, "flat", {counts, count_bytes, 1.0, t.scheduled_up_to});
    price.counts_s = told.time_s;
    price.counts_bottleneck = told.bottleneck;
  }
  add_exchanges(t, traffic_of(t, placement, shard, loads), loads, gradients, price, log);
  if (log != nullptr) log_layer(t, speed, loads, {shard.seconds, shard.rows}, price, *log);
  return price;
}

}  // namespace conclave::sim
