// SPDX-License-Identifier: BSD-3-Clause
#include "apps/tuned_training.hpp"

#include "apps/training_workload.hpp"
#include "runtime/sim/cluster_scaling.hpp"

#include <cmath>

namespace conclave::apps {
namespace {

constexpr std::array<Index, 4> wave_counts{1, 2, 4, 8};
constexpr std::array<double, 6> capacity_factors{1.0, 1.25, 1.5, 2.0, 3.0, 0.0};  // 0: slots for all

std::string waves_text(Index waves) { return waves == 0 ? "auto" : fmt::format("{}", waves); }

/// A member of a choice: how it reads, and how it becomes another's.
struct Member {
  std::string_view name;
  std::string (*text)(const TrainingChoice& choice);
  void (*take)(TrainingChoice& choice, const TrainingChoice& from);
};
const std::array<Member, 4> members{{
    {"exchange", [](const TrainingChoice& c) { return c.exchange; },
     [](TrainingChoice& c, const TrainingChoice& from) { c.exchange = from.exchange; }},
    {"waves", [](const TrainingChoice& c) { return waves_text(c.waves); },
     [](TrainingChoice& c, const TrainingChoice& from) { c.waves = from.waves; }},
    {"ranks a node x threads",
     [](const TrainingChoice& c) { return fmt::format("{}x{}", c.ranks_per_node, c.threads); },
     [](TrainingChoice& c, const TrainingChoice& from) {
       c.ranks_per_node = from.ranks_per_node;
       c.threads = from.threads;
     }},
    {"capacity factor", [](const TrainingChoice& c) { return fmt::format("{}", c.capacity_factor); },
     [](TrainingChoice& c, const TrainingChoice& from) { c.capacity_factor = from.capacity_factor; }},
}};

// The stretch that is most longer in `without` than in `with`.
void name_stretch(const sim::TrainingPrice& without, const sim::TrainingPrice& with, ChangeReason& reason) {
  double largest_s = 0.0;
  for (const sim::PathPart& part : without.path) {
    const auto same = std::ranges::find(with.path, part.what, &sim::PathPart::what);
    const double after_s = same == with.path.end() ? 0.0 : same->seconds;
    if (part.seconds - after_s <= largest_s) continue;
    largest_s = part.seconds - after_s;
    reason.stretch = part.what;
    reason.before_s = part.seconds;
    reason.after_s = after_s;
  }
}

std::vector<double> summed_loads(const std::vector<sim::ExpertLoads>& loads) {
  std::vector<double> sums(loads.front().rows.size());
  for (const sim::ExpertLoads& of_layer : loads) {
    for (std::size_t e = 0; e < sums.size(); ++e) sums[e] += of_layer.rows[e].mean;
  }
  return sums;
}

}  // namespace

TrainingSearch::TrainingSearch(const SettledTraining& base, Index ranks, std::optional<double> drop_limit,
                               const comm::Communicator& world)
    : base_(base), world_(world) {
  const sim::Cluster cluster = sim::scaled_to(base.cluster, ranks == 0 ? base.cluster.num_ranks() : ranks);
  nodes_ = cluster.nodes;
  now_ = {base.training.transport.exchange, base.training.transport.waves.value_or(0), cluster.ranks_per_node,
          base.workload.threads, base.training.model.router.capacity_factor};
  add_layouts();
  add_factors(drop_limit);
  std::vector<std::string> exchanges{now_.exchange};
  for (const std::string& name : sim::priced_exchanges()) {
    if (name != now_.exchange) exchanges.push_back(name);
  }
  std::vector<Index> waves{now_.waves};
  for (const Index count : wave_counts) {
    if (count != now_.waves) waves.push_back(count);
  }
  for (const auto& [mates, threads] : layouts_) {
    for (const double factor : factors_) {
      for (const std::string& exchange : exchanges) {
        for (const Index count : waves) candidates_.push_back({exchange, count, mates, threads, factor});
      }
    }
  }
}

// With a machine only what was measured; without, a rank's speed is that of its threads.
void TrainingSearch::add_layouts() {
  layouts_ = {{now_.ranks_per_node, now_.threads}};
  const Index cores = now_.ranks_per_node * now_.threads;
  for (Index mates = 1; mates <= cores; ++mates) {
    const Index threads = cores / mates;
    if (cores % mates != 0 || threads == now_.threads) continue;
    const auto is_measured = [&](const sim::ComputeRates& r) {
      return r.active_ranks == mates && r.threads == threads;
    };
    if (base_.machine && !std::ranges::any_of(base_.machine->compute, is_measured)) continue;
    layouts_.emplace_back(mates, threads);
  }
  if (base_.machine) {
    notes_.push_back(fmt::format("ranks and threads of a node: only those of {} cores that were measured", cores));
  } else if (layouts_.size() > 1) {
    notes_.push_back(
        fmt::format("{} cores of a node: a rank's rank_flops_per_s is taken as that of its threads", cores));
  }
}

void TrainingSearch::add_factors(std::optional<double> drop_limit) {
  factors_ = {now_.capacity_factor};
  if (!drop_limit) return;
  if (!(*drop_limit >= 0.0 && *drop_limit < 1.0)) {
    throw InputError(fmt::format("drop_limit = {}", *drop_limit), "give a share of all choices: 0 to below 1");
  }
  if (!base_.routing.trace.empty()) {
    throw InputError("drop_limit beside a recorded routing, whose choices were dropped at its own capacity factor",
                     "ask conclave simulate replay of other factors, or leave one of them out");
  }
  most_dropped_ = *drop_limit;
  for (const double factor : capacity_factors) {
    if (factor != now_.capacity_factor) factors_.push_back(factor);
  }
}

SettledTraining TrainingSearch::chosen(const TrainingChoice& choice) const {
  SettledTraining s = base_;
  s.training.transport.exchange = choice.exchange;
  s.training.transport.waves = choice.waves == 0 ? std::nullopt : std::optional<Index>(choice.waves);
  s.training.compute.threads = choice.threads;
  s.training.model.router.capacity_factor = choice.capacity_factor;
  s.workload = training_workload(s.training, s.shape);
  if (choice.capacity_factor != now_.capacity_factor) settle_loads(s);
  if (!s.machine) {
    s.cluster.rank_flops_per_s *= static_cast<double>(choice.threads) / static_cast<double>(now_.threads);
  }
  s.cluster.ranks_per_node = choice.ranks_per_node;
  return s;
}

std::optional<TunedTraining> TrainingSearch::priced(const TrainingChoice& choice) const {
  try {
    TunedTraining tuned{choice, simulated_on(chosen(choice), nodes_ * choice.ranks_per_node, world_)};
    if (!tuned.point.fits || tuned.point.price.drop_rate > most_dropped_) return std::nullopt;
    for (const Member& member : members) tuned.changes += member.text(choice) == member.text(now_) ? 0 : 1;
    return tuned;
  } catch (const InputError&) {
    return std::nullopt;  // no choice on this cluster
  }
}

std::vector<ChangeReason> TrainingSearch::reasons(const TunedTraining& tuned) const {
  std::vector<ChangeReason> reasons;
  for (const Member& member : members) {
    if (member.text(tuned.choice) == member.text(now_)) continue;
    TrainingChoice without = tuned.choice;
    member.take(without, now_);
    const SimulatedPoint point = simulated_on(chosen(without), nodes_ * without.ranks_per_node, world_);
    ChangeReason& reason = reasons.emplace_back();
    reason.change = fmt::format("{} {} -> {}", member.name, member.text(now_), member.text(tuned.choice));
    reason.without_s = point.price.step_s;
    name_stretch(point.price, tuned.point.price, reason);
  }
  std::ranges::stable_sort(reasons, std::ranges::greater{}, &ChangeReason::without_s);
  return reasons;
}

void TrainingSearch::price_balanced(TunedTraining& tuned) const {
  tuned.balanced_s = tuned.point.price.step_s;
  const SettledTraining s = chosen(tuned.choice);
  if (s.workload.moe_blocks == 0) return;
  const Index slots = (s.workload.moe.num_experts() + tuned.point.ranks - 1) / tuned.point.ranks;
  const experts::Placement placement = experts::balanced_placement(summed_loads(s.loads), tuned.point.ranks, slots);
  tuned.balanced_s = simulated_on(s, tuned.point.ranks, world_, &placement).price.step_s;
}

}  // namespace conclave::apps
