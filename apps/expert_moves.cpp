// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_moves.hpp"

#include "apps/bench_report.hpp"
#include "experts/expert_shard.hpp"
#include "runtime/core/clock.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::apps {

std::string text_of(const ExpertMove& move) {
  const std::string copies =
      move.replicas == 0 ? "" : fmt::format(", with {} replica{}", move.replicas, move.replicas == 1 ? "" : "s");
  return fmt::format("the fullest rank had {:.2f} times the mean load and will have {:.2f}{}: about {} a step",
                     move.before, move.after, copies, seconds_text(move.gain_s));
}

// As often as it takes that the memory is there and the way is known; the best says what the machine can do.
double measured_element_s(const comm::Communicator& communicator, Index parameters) {
  constexpr int times = 3;
  if (communicator.size() == 1 || parameters == 0) return 0.0;
  std::vector<float> values(static_cast<std::size_t>(parameters));
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < times; ++i) {
    communicator.barrier();
    const Clock::time_point start = Clock::now();
    communicator.broadcast(std::span<float>(values));
    communicator.barrier();  // until the last has them
    best = std::min(best, seconds_since(start));
  }
  return best / static_cast<double>(parameters);
}

ExpertMoves::ExpertMoves(const train::TrainOptions& o, Index num_ranks)
    : num_ranks_(num_ranks), num_passes_(o.passes), most_replicas_(num_ranks == 1 ? 0 : o.placement_replicas) {
  if (o.model.moe_every == 0) return;
  const Index experts = o.model.router.experts;
  for (const auto& shape : experts::expert_shapes(o.model.experts, o.model.width, experts)) {
    weights_.push_back(static_cast<double>(experts::expert_parameters({shape}, "", ExpertId{0}).size()));
  }
  const auto layers = static_cast<std::size_t>(o.model.num_moe_layers());
  placement_.assign(layers, ExpertMap::contiguous(experts, num_ranks));
  loads_.assign(layers, std::vector<double>(weights_.size()));
}

// Drops are spread over the experts as claims are: the log of a step does not say whose they were.
void ExpertMoves::add(const train::StepRecord& step) {
  if (!step.skipped.empty()) return;
  ++num_steps_;
  experts_s_ += step.phases[static_cast<std::size_t>(Phase::experts)].mean_s * static_cast<double>(num_ranks_);
  for (std::size_t l = 0; l < loads_.size(); ++l) {
    const model::LayerStatistics& layer = step.layers[l];
    for (std::size_t e = 0; e < weights_.size(); ++e) {
      loads_[l][e] += (1.0 - layer.drop_rate()) * weights_[e] * static_cast<double>(layer.load[e]);
    }
  }
}

double ExpertMoves::all_loads() const {
  double all = 0.0;
  for (const std::vector<double>& of_layer : loads_) all = std::accumulate(of_layer.begin(), of_layer.end(), all);
  return all;
}

double ExpertMoves::load_s() const {
  const double all = all_loads();
  return all == 0.0 ? 0.0 : experts_s_ / all;
}

Index ExpertMoves::most_parameters() const {
  return weights_.empty() ? 0 : static_cast<Index>(std::ranges::max(weights_));
}

ExpertMoves::Cost ExpertMoves::cost_of(const std::vector<double>& loads, const ExpertMap& map) const {
  std::vector<double> load(static_cast<std::size_t>(num_ranks_));
  std::vector<double> elements(load.size());
  for (ExpertId expert; expert < ExpertId{map.num_experts()}; ++expert) {
    const auto e = static_cast<std::size_t>(expert.value());
    const std::vector<RankId>& hosts = map.hosts(expert);
    const auto home = static_cast<std::size_t>(hosts.front().value());
    if (hosts.size() == 1) {
      load[home] += loads[e];
      continue;
    }
    const double rows = loads[e] / weights_[e] / static_cast<double>(num_steps_ * num_passes_);
    const std::vector<experts::HostShare> shares = experts::host_shares(rows, std::ssize(hosts));
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      const auto rank = static_cast<std::size_t>(hosts[h].value());
      if (rows > 0.0) load[rank] += loads[e] * shares[h].rows / rows;
      if (h == 0) continue;
      const double sent = weights_[e] * static_cast<double>(1 + num_passes_ * shares[h].sums);
      elements[rank] += sent;
      elements[home] += sent;
    }
  }
  return {std::ranges::max(load), std::ranges::max(elements)};
}

double ExpertMoves::step_s(const Cost& cost, const MoveRates& rates) const {
  return cost.fullest / static_cast<double>(num_steps_) * rates.load_s + cost.elements * rates.element_s;
}

// Replicas are tried in numbers that double: each try packs all experts anew.
ExpertMap ExpertMoves::best_placement(const std::vector<double>& loads, const MoveRates& rates) const {
  const Index slots = even_share(std::ssize(weights_), num_ranks_, 0).size();
  ExpertMap best = experts::balanced_placement(loads, num_ranks_, slots).map();
  const Index more_slots = slots + (most_replicas_ + num_ranks_ - 1) / num_ranks_;
  for (Index tried = 0; tried < most_replicas_;) {
    tried = std::min(most_replicas_, std::max<Index>(1, 2 * tried));
    ExpertMap map = experts::replicated_placement(loads, num_ranks_, more_slots, tried).map();
    if (step_s(cost_of(loads, map), rates) < step_s(cost_of(loads, best), rates)) best = std::move(map);
  }
  return best;
}

std::optional<ExpertMove> ExpertMoves::proposal(const MoveRates& rates) const {
  const double all = all_loads();
  if (all == 0.0) return std::nullopt;
  ExpertMove move;
  double now = 0.0;
  double then = 0.0;
  for (std::size_t l = 0; l < loads_.size(); ++l) {
    const ExpertMap& map = move.placement.emplace_back(best_placement(loads_[l], rates));
    const Cost before = cost_of(loads_[l], placement_[l]);
    const Cost after = cost_of(loads_[l], map);
    now += before.fullest;
    then += after.fullest;
    move.gain_s += step_s(before, rates) - step_s(after, rates);
    for (const ExpertId e : map.replicated()) move.replicas += std::ssize(map.hosts(e)) - 1;
  }
  const double mean = all / static_cast<double>(num_ranks_);
  move.before = now / mean;
  move.after = then / mean;
  return move;
}

void ExpertMoves::made(const ExpertMove& move) {
  placement_ = move.placement;
  for (std::vector<double>& of_layer : loads_) std::ranges::fill(of_layer, 0.0);
  experts_s_ = 0.0;
  num_steps_ = 0;
}

}  // namespace conclave::apps
