// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/waiting.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::train {
namespace {

// Whether having `amount` times the mean of something is at least half of the reason for taking `times` as long.
bool explains(double amount, double times) { return amount - 1.0 >= 0.5 * (times - 1.0); }

}  // namespace

void Waiting::add(const StepRecord& step) {
  const std::vector<double>& stretches_s = step.attribution.stretches_s;
  stretches_s_.resize(stretches_s.size());
  std::ranges::transform(stretches_s, stretches_s_, stretches_s_.begin(), std::plus());
  const Index num_stretches = stretch_of_own(std::ssize(step.layers));
  num_ranks_ = std::ssize(stretches_s) / num_stretches;
  seconds_ += step.seconds;
  imbalance_s_ += step.attribution.imbalance_s;
  loads_.resize(step.layers.size());
  for (std::size_t l = 0; l < loads_.size(); ++l) {
    loads_[l].resize(step.layers[l].load.size());
    std::ranges::transform(step.layers[l].load, loads_[l], loads_[l].begin(), std::plus());
  }
}

std::string Waiting::sentence(std::span<const ExpertMap> maps, Index groups_in_pass) const {
  if (num_ranks_ < 2 || seconds_ <= 0.0) return {};
  std::vector<double> waited_s(static_cast<std::size_t>(num_ranks_), 0.0);  // for each rank
  std::vector<std::pair<double, Index>> worst(waited_s.size());             // of its stretches: seconds, and which
  for (Index stretch = 0; stretch < stretch_of_own(std::ssize(loads_)); ++stretch) {
    const StretchSpread spread = spread_of_stretch(stretches_s_, num_ranks_, stretch);
    const auto rank = static_cast<std::size_t>(spread.slowest.value());
    waited_s[rank] += spread.excess_s();
    worst[rank] = std::max(worst[rank], {spread.excess_s(), stretch});
  }
  const auto most = std::ranges::max_element(waited_s);
  const RankId rank{most - waited_s.begin()};
  const double share = std::min(*most, imbalance_s_) / seconds_;
  if (share < least_share) return {};
  return fmt::format("{:.0f} % of the steps' time waited for rank {}: {}", 100.0 * share, rank.value(),
                     reason(rank, worst[static_cast<std::size_t>(rank.value())].second, maps, groups_in_pass));
}

std::string Waiting::reason(RankId rank, Index stretch, std::span<const ExpertMap> maps, Index groups_in_pass) const {
  const StretchSpread spread = spread_of_stretch(stretches_s_, num_ranks_, stretch);
  const double times_as_long = spread.max_s / spread.mean_s;
  if (stretch == stretch_of_data) {
    return fmt::format("it read data for {:.1f} times as long as the mean rank", times_as_long);
  }
  for (Index l = 0; l < std::ssize(maps); ++l) {
    if (stretch == stretch_of_experts(l)) {
      return reason_of_experts(rank, times_as_long, l, maps[static_cast<std::size_t>(l)]);
    }
  }
  return reason_of_groups(rank, times_as_long, stretch, groups_in_pass);
}

std::string Waiting::reason_of_experts(RankId rank, double times_as_long, Index moe_layer, const ExpertMap& map) const {
  const std::vector<Index>& load = loads_[static_cast<std::size_t>(moe_layer)];
  const auto claims = static_cast<double>(std::accumulate(load.begin(), load.end(), Index{0}));
  const double mean_load = claims / static_cast<double>(load.size());
  const auto load_of = [&](ExpertId e) { return static_cast<double>(load[static_cast<std::size_t>(e.value())]); };
  double rank_load = 0.0;
  for (const ExpertId e : map.experts_of(rank)) rank_load += load_of(e) / static_cast<double>(map.hosts(e).size());
  const ExpertId hottest = fullest_expert(rank, map, load).value_or(ExpertId{0});
  const double rank_ratio = claims > 0.0 ? rank_load * static_cast<double>(num_ranks_) / claims : 0.0;
  if (!explains(rank_ratio, times_as_long)) {
    return fmt::format(
        "its experts of MoE layer {} computed {:.1f} times as long as the mean rank's, with {:.1f} times "
        "the mean load",
        moe_layer, times_as_long, rank_ratio);
  }
  const double hottest_ratio = load_of(hottest) / mean_load;
  if (explains(hottest_ratio, rank_ratio)) {
    return fmt::format("expert {} of MoE layer {} had {:.1f} times the mean load", hottest.value(), moe_layer,
                       hottest_ratio);
  }
  return fmt::format("its {} experts of MoE layer {} had {:.1f} times the mean rank's load",
                     map.experts_of(rank).size(), moe_layer, rank_ratio);
}

std::string Waiting::reason_of_groups(RankId rank, double times_as_long, Index stretch, Index groups_in_pass) const {
  const Index groups = even_share(groups_in_pass, num_ranks_, rank.value()).size();
  const double mean_groups = static_cast<double>(groups_in_pass) / static_cast<double>(num_ranks_);
  if (explains(static_cast<double>(groups) / mean_groups, times_as_long)) {
    return fmt::format("it has {} of the {} groups of a pass, the mean rank {:.1f}", groups, groups_in_pass,
                       mean_groups);
  }
  const std::string where =
      stretch == stretch_outside ? "outside of MoE layers" : fmt::format("in MoE layer {}", (stretch - 2) / 2);
  return fmt::format("{} it computed {:.1f} times as long as the mean rank, with {} of the {} groups of a pass", where,
                     times_as_long, groups, groups_in_pass);
}

}  // namespace conclave::train
