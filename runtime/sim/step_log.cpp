// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_log.hpp"

#include "runtime/core/at.hpp"
#include "runtime/sim/layer_price.hpp"

#include <algorithm>

namespace conclave::sim {
namespace {

LoggedWork logged(const RankSpeed& speed, Phase phase, const Work& work, double factor) {
  return {speed.seconds(phase, work) / factor, work.flops, 0.0};
}

void add(const RankSpeed& speed, const PhaseWork& work, double factor, double times, LoggedPhases& sum) {
  for (const auto& entry : enum_names(Phase{})) {
    of(sum, entry.value) += logged(speed, entry.value, of(work, entry.value), factor).scaled(times);
  }
}

double factor_of(const TrainingCase& t, const RankSpeed& speed, RankId rank) {
  return speed.factor(t.network.cluster().node_of(rank));
}

double share_of_case(const TrainingCase& t) { return 1.0 / static_cast<double>(t.loads.size()); }

}  // namespace

LoggedWork& LoggedWork::operator+=(const LoggedWork& other) {
  seconds += other.seconds;
  flops += other.flops;
  rows += other.rows;
  return *this;
}

void log_groups(const TrainingCase& t, const RankSpeed& speed, RankId slowest, StepLog& log) {
  const Workload& w = t.workload;
  const auto add_groups = [&](Index groups, double factor, double times, LoggedRow& row) {
    add(speed, outside_work(w, groups), factor, times, row.outside);
    if (w.dense_blocks > 0) add(speed, block_work(w, groups, false), factor, times, row.dense_block);
    if (w.moe_blocks > 0) add(speed, block_work(w, groups, true), factor, times, row.moe_block);
  };
  const auto add_rank = [&](RankId rank, LoggedRow& row) {
    add_groups(groups_of(t, rank).size(), factor_of(t, speed, rank), 1.0, row);
  };
  for (std::size_t i = 0; i < log.ranks.size(); ++i) add_rank(log.ranks[i], log.of_rank[i]);
  add_rank(slowest, log.slowest);
  add_groups(w.groups_in_pass(), 1.0, 1.0 / static_cast<double>(t.network.num_ranks()), log.mean);
}

void log_layer(const TrainingCase& t, const RankSpeed& speed, const ExpertLoads& loads, const LoggedExperts& experts,
               const LayerPrice& price, StepLog& log) {
  const Workload& w = t.workload;
  const double times = share_of_case(t);
  const double of_group = loads.kept() / static_cast<double>(w.groups_in_pass());
  const auto add_routing = [&](RankId rank, LoggedRow& row) {
    const Index groups = groups_of(t, rank).size();
    add(speed, routing_work(w, groups, of_group * static_cast<double>(groups)), factor_of(t, speed, rank), times,
        row.layer);
  };
  for (std::size_t i = 0; i < log.ranks.size(); ++i) {
    const std::size_t rank = at(log.ranks[i].value());
    add_routing(log.ranks[i], log.of_rank[i]);
    of(log.of_rank[i].layer, Phase::experts) +=
        LoggedWork{experts.seconds[rank].mean, 0.0, experts.rows[rank].mean}.scaled(times);
  }
  // The fullest by chance is none of the ranks: its rows are not known.
  add_routing(price.routing.slowest, log.slowest);
  of(log.slowest.layer, Phase::experts).seconds += times * price.experts.max_s;
  add(speed, price.work, 1.0, times, log.mean.layer);
  of(log.mean.layer, Phase::experts).rows += times * loads.kept() / static_cast<double>(t.network.num_ranks());
  log.counts_s += times * price.counts_s;
  log.forward_s += times * price.forward_s;
  log.backward_s += times * price.backward_s;
}

void log_transfer(const TrainingCase& t, const ExpertLoads& loads, double seconds, double row_bytes,
                  LoggedTransfer& sum) {
  const double rows = share_of_case(t) * loads.kept() / static_cast<double>(t.workload.transport.waves);
  sum.seconds += share_of_case(t) * seconds;
  sum.rows += rows;
  sum.bytes += rows * row_bytes;
}

void log_update(const TrainingCase& t, const RankSpeed& speed, const plan::ReducePlan& plan,
                std::span<const double> hosted, SlowestOfUpdate slowest, StepLog& log) {
  const Workload& w = t.workload;
  const auto reduce = [&](RankId rank, double factor) {
    return logged(speed, Phase::reduce, reduce_work(w, plan, rank), factor);
  };
  const auto optimizer = [&](RankId rank, double factor) {
    const double owned = static_cast<double>(plan.slice_of(rank).size()) + hosted[at(rank.value())];
    return logged(speed, Phase::optimizer, update_work(w, owned), factor);
  };
  for (std::size_t i = 0; i < log.ranks.size(); ++i) {
    const double factor = factor_of(t, speed, log.ranks[i]);
    log.of_rank[i].reduce = reduce(log.ranks[i], factor);
    log.of_rank[i].optimizer = optimizer(log.ranks[i], factor);
  }
  log.slowest.reduce = reduce(slowest.reduce, factor_of(t, speed, slowest.reduce));
  log.slowest.optimizer = optimizer(slowest.optimizer, factor_of(t, speed, slowest.optimizer));
  const double ranks = static_cast<double>(t.network.num_ranks());
  for (RankId rank; rank < RankId{t.network.num_ranks()}; ++rank) {
    log.mean.reduce += reduce(rank, 1.0).scaled(1.0 / ranks);
    log.mean.optimizer += optimizer(rank, 1.0).scaled(1.0 / ranks);
  }
}

}  // namespace conclave::sim
