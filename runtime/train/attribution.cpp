// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/attribution.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::train {

void Attribution::add(const Attribution& more) {
  compute_s += more.compute_s;
  exposed_s += more.exposed_s;
  imbalance_s += more.imbalance_s;
  io_s += more.io_s;
  layers.resize(more.layers.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    layers[l].compute_s += more.layers[l].compute_s;
    layers[l].exposed_s += more.layers[l].exposed_s;
    layers[l].imbalance_s += more.layers[l].imbalance_s;
  }
}

std::optional<ExpertId> fullest_expert(RankId rank, const ExpertMap& map, std::span<const Index> load) {
  std::optional<ExpertId> fullest;
  double most = -1.0;
  for (const ExpertId e : map.experts_of(rank)) {
    const double here =
        static_cast<double>(load[static_cast<std::size_t>(e.value())]) / static_cast<double>(map.hosts(e).size());
    if (here <= most) continue;
    most = here;
    fullest = e;
  }
  return fullest;
}

StretchSpread spread_of_stretch(std::span<const double> stretches_s, Index num_ranks, Index stretch) {
  const Index num_stretches = std::ssize(stretches_s) / num_ranks;
  StretchSpread spread;
  double sum_s = 0.0;
  for (RankId rank; rank < RankId{num_ranks}; ++rank) {
    const double seconds = stretches_s[static_cast<std::size_t>(rank.value() * num_stretches + stretch)];
    sum_s += seconds;
    if (seconds <= spread.max_s) continue;
    spread.max_s = seconds;
    spread.slowest = rank;
  }
  spread.mean_s = sum_s / static_cast<double>(num_ranks);
  return spread;
}

Attributor::Attributor(std::vector<bool> has_experts, Index num_ranks)
    : has_experts_(std::move(has_experts)),
      num_moe_(std::ranges::count(has_experts_, true)),
      waited_for_(static_cast<std::size_t>(num_ranks)) {}

void Attributor::begin(Attribution& a) const {
  a.compute_s = a.exposed_s = a.imbalance_s = a.io_s = 0.0;
  a.layers.assign(has_experts_.size(), {});
  a.waited_s = 0.0;
  a.slowest_expert.reset();
  a.stretches_s.assign(waited_for_.size() * static_cast<std::size_t>(num_stretches()), 0.0);
}

// exposed_s is all that was waited until finish.
void Attributor::take(RankId rank, const RankTimes& times, Attribution& a) const {
  const double share = 1.0 / static_cast<double>(waited_for_.size());
  const auto of = [&](Phase phase) { return times.phases_s[static_cast<std::size_t>(phase)]; };
  const double computed_s =
      std::accumulate(times.phases_s.begin(), times.phases_s.end(), 0.0) - of(Phase::wait) - of(Phase::data);
  a.compute_s += share * computed_s;
  a.exposed_s += share * of(Phase::wait);
  a.io_s += share * (of(Phase::data) + times.saving_s);
  const auto stretches =
      std::span(a.stretches_s)
          .subspan(static_cast<std::size_t>(rank.value() * num_stretches()), static_cast<std::size_t>(num_stretches()));
  stretches[stretch_of_data] = of(Phase::data);
  double outside_s = computed_s;
  Index moe = 0;
  for (std::size_t b = 0; b < has_experts_.size(); ++b) {
    const auto layer = times.layers_s.subspan(b * numbers_of_layer, numbers_of_layer);
    a.layers[b].compute_s += share * (layer[0] + layer[1]);
    a.layers[b].exposed_s += share * layer[2];
    if (!has_experts_[b]) continue;
    stretches[static_cast<std::size_t>(stretch_of_own(moe))] = layer[0];
    stretches[static_cast<std::size_t>(stretch_of_experts(moe))] = layer[1];
    outside_s -= layer[0] + layer[1];
    ++moe;
  }
  stretches[stretch_outside] = std::max(0.0, outside_s);
}

void Attributor::finish(Attribution& a) {
  const Index num_ranks = std::ssize(waited_for_);
  std::ranges::fill(waited_for_, WaitedFor{});
  const auto excess_of = [&](Index stretch) {
    const StretchSpread spread = spread_of_stretch(a.stretches_s, num_ranks, stretch);
    WaitedFor& waited = waited_for_[static_cast<std::size_t>(spread.slowest.value())];
    waited.seconds += spread.excess_s();
    if (spread.excess_s() > waited.longest_s) {
      waited.longest_s = spread.excess_s();
      waited.longest = stretch;
    }
    return spread.excess_s();
  };
  double all_s = excess_of(stretch_of_data) + excess_of(stretch_outside);
  Index moe = 0;
  for (std::size_t b = 0; b < has_experts_.size(); ++b) {
    if (!has_experts_[b]) continue;
    a.layers[b].imbalance_s = excess_of(stretch_of_own(moe)) + excess_of(stretch_of_experts(moe));
    all_s += a.layers[b].imbalance_s;
    ++moe;
  }
  const auto slowest = std::ranges::max_element(waited_for_, {}, &WaitedFor::seconds);
  a.slowest = RankId{slowest - waited_for_.begin()};
  a.slowest_stretch = slowest->longest;
  const double waited_s = a.exposed_s;
  a.imbalance_s = std::min(all_s, waited_s);
  a.exposed_s = waited_s - a.imbalance_s;
  a.waited_s = std::min(slowest->seconds, a.imbalance_s);
  const double scale = all_s > 0.0 ? a.imbalance_s / all_s : 0.0;
  for (Attribution::Layer& layer : a.layers) {
    layer.imbalance_s *= scale;
    layer.exposed_s = std::max(0.0, layer.exposed_s - layer.imbalance_s);
  }
}

}  // namespace conclave::train
