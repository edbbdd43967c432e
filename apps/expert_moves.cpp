// SPDX-License-Identifier: BSD-3-Clause
#include "apps/expert_moves.hpp"

#include "experts/expert_shard.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::apps {

namespace {

experts::Placement placement_of(const ExpertMap& map) {
  experts::Placement placement{{}, map.num_ranks()};
  for (ExpertId e; e < ExpertId{map.num_experts()}; ++e) placement.hosts.push_back({map.owner(e)});
  return placement;
}

}  // namespace

ExpertMoves::ExpertMoves(const train::TrainOptions& o, Index num_ranks) : num_ranks_(num_ranks) {
  if (o.model.moe_every == 0) return;
  const Index experts = o.model.router.experts;
  for (const auto& shape : experts::expert_shapes(o.model.experts, o.model.width, experts)) {
    weights_.push_back(static_cast<double>(experts::expert_parameters({shape}, "", ExpertId{0}).size()));
  }
  const auto layers = static_cast<std::size_t>(o.model.layers / o.model.moe_every);
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

double ExpertMoves::critical_load(const std::vector<ExpertMap>& placement) const {
  double sum = 0.0;
  for (std::size_t l = 0; l < loads_.size(); ++l) {
    sum += std::ranges::max(experts::rank_loads(placement_of(placement[l]), loads_[l]));
  }
  return sum;
}

std::optional<ExpertMove> ExpertMoves::proposal() const {
  double all = 0.0;
  for (const std::vector<double>& of_layer : loads_) all = std::accumulate(of_layer.begin(), of_layer.end(), all);
  if (all == 0.0) return std::nullopt;
  const Index slots = even_share(std::ssize(weights_), num_ranks_, 0).size();
  ExpertMove move;
  for (const std::vector<double>& of_layer : loads_) {
    move.placement.push_back(experts::balanced_placement(of_layer, num_ranks_, slots).map());
  }
  const double mean = all / static_cast<double>(num_ranks_);
  const double now = critical_load(placement_);
  const double then = critical_load(move.placement);
  move.before = now / mean;
  move.after = then / mean;
  move.gain_s = experts_s_ / static_cast<double>(num_steps_) * (now - then) / all;
  return move;
}

void ExpertMoves::made(const ExpertMove& move) {
  placement_ = move.placement;
  for (std::vector<double>& of_layer : loads_) std::ranges::fill(of_layer, 0.0);
  experts_s_ = 0.0;
  num_steps_ = 0;
}

}  // namespace conclave::apps
