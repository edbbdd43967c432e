// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/early_results.hpp"

#include "runtime/core/at.hpp"
#include "runtime/sim/fabric.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::sim {
namespace {

// In rows, more of them where a NIC is slower.
Crossing crossing_of(const Cluster& cluster, const Traffic& rows) {
  const std::vector<double> none(at(cluster.nodes), 0.0);
  Crossing crossing{none, none};
  for (const TrafficTerm& term : rows.terms()) {
    add_crossing(
        {sums_of_runs(term.sent, cluster.ranks_per_node), sums_of_runs(term.popularity, cluster.ranks_per_node)},
        crossing);
  }
  for (const Fault& fault : cluster.faults) {
    if (fault.nic == -1) continue;
    crossing.sent[at(fault.nic)] /= fault.factor;
    crossing.received[at(fault.nic)] /= fault.factor;
  }
  return crossing;
}

// [num_ranks] what some ranks have for each rank, their own included.
std::vector<double> rows_from(const Traffic& rows, Range ranks) {
  std::vector<double> for_ranks(at(rows.num_ranks()), 0.0);
  for (const TrafficTerm& term : rows.terms()) {
    const double sent = std::accumulate(term.sent.begin() + ranks.begin, term.sent.begin() + ranks.end, 0.0);
    for (std::size_t r = 0; r < for_ranks.size(); ++r) for_ranks[r] += sent * term.popularity[r];
  }
  return for_ranks;
}

std::vector<std::size_t> ascending(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  return order;
}

// When each has its rows of a link that all share fairly, as a share of the time until the last one has. Whoever has
// none of them waits until then for what comes from elsewhere.
std::vector<double> arrivals(const std::vector<double>& rows) {
  const double all = std::accumulate(rows.begin(), rows.end(), 0.0);
  std::vector<double> shares(rows.size(), 1.0);
  if (!(all > 0.0)) return shares;
  double had = 0.0;  // by those that have all of theirs
  auto others = static_cast<double>(rows.size());
  for (const std::size_t r : ascending(rows)) {
    had += rows[r];
    others -= 1.0;
    if (rows[r] > 0.0) shares[r] = std::min(1.0, (had + others * rows[r]) / all);
  }
  return shares;
}

}  // namespace

EarlyResults::EarlyResults(const Cluster& cluster, const Traffic& rows, std::span<const Moments> expert_seconds) {
  constexpr double but_for_rounding = 1.0 - 1e-9;
  if (cluster.nodes == 1) return;
  const Crossing crossing = crossing_of(cluster, rows);
  const auto sender = std::ranges::max_element(crossing.sent);
  const double most_received = std::ranges::max(crossing.received);
  const double busiest = std::max(*sender, most_received);
  if (!(busiest > 0.0)) return;

  const Range sending = cluster.ranks_of(NodeId{sender - crossing.sent.begin()});
  const std::vector<double> wanted = rows_from(rows, sending);
  std::vector<double> from_sender(wanted.size(), 0.0);
  if (most_received < but_for_rounding * busiest) {
    from_sender = wanted;
    std::fill(from_sender.begin() + sending.begin, from_sender.begin() + sending.end, 0.0);
  }
  const std::vector<double> arrives = arrivals(from_sender);
  const double all = std::accumulate(from_sender.begin(), from_sender.end(), 0.0);
  const double slowest = std::ranges::max(expert_seconds, {}, &Moments::mean).mean;
  for (RankId rank; rank < RankId{cluster.num_ranks()}; ++rank) {
    const std::size_t r = at(rank.value());
    if (!(wanted[r] > 0.0)) continue;
    ranks_.push_back({.arrives = arrives[r],
                      .computes = slowest > 0.0 ? expert_seconds[r].mean / slowest : 0.0,
                      .leaving = crossing.received[at(cluster.node_of(rank).value())] / busiest,
                      .to_sender = all > 0.0 ? from_sender[r] / all : 0.0});
  }
}

double EarlyResults::seconds(const WaveTimes& wave) const {
  if (ranks_.empty()) return 0.0;
  std::vector<double> ready_s;
  double to_come = 0.0;  // to the sender, of ranks that are ready no sooner
  for (const Rank& rank : ranks_) {
    ready_s.push_back(wave.in_s * rank.arrives + wave.experts_s * rank.computes);
    to_come += rank.to_sender;
  }
  double end_s = 0.0;
  const auto pass_on = [&](std::size_t r) {
    end_s = std::max(end_s, ready_s[r] + wave.out_s * std::max(to_come, ranks_[r].leaving));
    to_come -= ranks_[r].to_sender;
  };
  if (to_come > 0.0) {
    for (const std::size_t r : ascending(ready_s)) pass_on(r);
  } else {
    for (std::size_t r = 0; r < ranks_.size(); ++r) pass_on(r);
  }
  return std::clamp(wave.in_s + wave.experts_s + wave.out_s - end_s, 0.0, wave.out_s);
}

}  // namespace conclave::sim
