// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/moe_statistics.hpp"

#include "comm/mpi/reproducible_reduce.hpp"
#include "gating/losses.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::model {
namespace {

// A group's row of numbers for one layer: z sum, importance, entropy sum, then either its balance loss, or its
// probabilities where the balance is taken over the step.
template <class T>
void append_terms(const gating::RouterTape<T>& routed, bool over_step, std::vector<double>& row) {
  const gating::BalanceTerms& b = routed.balance;
  row.insert(row.end(), {b.z_sum, b.importance, b.entropy_sum});
  if (over_step) {
    row.insert(row.end(), b.probability.begin(), b.probability.end());
  } else {
    row.push_back(gating::balance_loss(b.counted, b.probability, routed.routing.num_tokens()));
  }
}

/// The counts of the ledger of one routing, in the order of ledger_counts.
template <class T>
std::array<Index, ledger_counts.size()> counts_of(const gating::Routing<T>& routing) {
  const gating::RoutingCounts& c = routing.counts();
  return {c.count(gating::DropReason::over_capacity), c.count(gating::DropReason::refused_second),
          c.count(gating::DropReason::unchosen), c.rerouted, routing.num_unserved()};
}

// Integer counts of one layer: load, counted claims, the ledger's.
template <class T>
std::vector<Index> local_counts(const MoeLayer<T>& layer, const Step& step) {
  const auto num_experts = static_cast<std::size_t>(layer.shape().router.experts);
  std::vector<Index> counts(2 * num_experts + ledger_counts.size(), 0);
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    const gating::RouterTape<T>& routed = layer.routed(g);
    for (std::size_t e = 0; e < num_experts; ++e) {
      counts[e] += routed.routing.counts().load[e];
      counts[num_experts + e] += routed.balance.counted[e];
    }
    const auto ledger = counts_of(routed.routing);
    for (std::size_t i = 0; i < ledger.size(); ++i) counts[2 * num_experts + i] += ledger[i];
  }
  return counts;
}

// Sums over groups, each in the fixed tree, of the columns of a [groups, width] table.
class GroupSums {
 public:
  GroupSums(std::vector<double> table, Index num_groups)
      : table_(std::move(table)), width_(num_groups == 0 ? 0 : table_.size() / static_cast<std::size_t>(num_groups)) {}
  double next() {
    std::vector<double> column;
    for (std::size_t at = next_++; at < table_.size(); at += width_) column.push_back(table_[at]);
    return plan::tree_sum(column);
  }

 private:
  std::vector<double> table_;
  std::size_t width_;
  std::size_t next_ = 0;
};

LayerStatistics layer_statistics(const gating::RouterOptions& options, std::span<const Index> counts, GroupSums& sums,
                                 Index num_groups, Index num_tokens) {
  const auto num_experts = static_cast<std::size_t>(options.experts);
  LayerStatistics s;
  s.tokens = num_tokens;
  s.load.assign(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(num_experts));
  for (std::size_t i = 0; i < ledger_counts.size(); ++i) s.*ledger_counts[i] = counts[2 * num_experts + i];
  if (num_tokens == 0) return s;
  s.z = sums.next() / static_cast<double>(num_tokens);
  s.importance = sums.next() / static_cast<double>(num_groups);
  s.entropy = sums.next() / static_cast<double>(num_tokens);
  if (options.balance_scope == gating::BalanceScope::step) {
    std::vector<double> probability(num_experts);
    for (double& p : probability) p = sums.next();
    s.balance = gating::balance_loss(counts.subspan(num_experts, num_experts), probability, num_tokens);
  } else {
    s.balance = sums.next() / static_cast<double>(num_groups);
  }
  return s;
}

}  // namespace

Index LayerStatistics::claims() const { return std::accumulate(load.begin(), load.end(), Index{0}); }

double LayerStatistics::drop_rate() const {
  const Index all = claims();
  return all == 0 ? 0.0 : static_cast<double>(over_capacity + refused_second) / static_cast<double>(all);
}

double LayerStatistics::unserved_rate() const {
  return tokens == 0 ? 0.0 : static_cast<double>(unserved) / static_cast<double>(tokens);
}

double LayerStatistics::effective_experts() const {
  const auto all = static_cast<double>(claims());
  if (all == 0.0) return static_cast<double>(load.size());
  double uncertainty = 0.0;  // nats
  for (const Index n : load) {
    const double share = static_cast<double>(n) / all;
    if (share > 0.0) uncertainty -= share * std::log(share);
  }
  return std::exp(uncertainty);
}

Index LayerStatistics::dead_experts() const { return std::count(load.begin(), load.end(), Index{0}); }

double LayerStatistics::imbalance() const {
  const Index all = claims();
  if (all == 0) return 1.0;
  return static_cast<double>(*std::max_element(load.begin(), load.end())) * static_cast<double>(load.size()) /
         static_cast<double>(all);
}

double LayerStatistics::weighted_loss(const gating::RouterOptions& o) const {
  return o.c_balance * balance + o.c_z * z + o.c_importance * importance;
}

template <class T>
std::vector<LayerStatistics> collect_statistics(const comm::Communicator& communicator, const Step& step,
                                                const std::vector<const MoeLayer<T>*>& layers) {
  if (layers.empty()) return {};
  std::vector<Index> counts;
  for (const MoeLayer<T>* layer : layers) {
    const std::vector<Index> of_layer = local_counts(*layer, step);
    counts.insert(counts.end(), of_layer.begin(), of_layer.end());
  }
  communicator.sum(counts);

  std::vector<double> rows;
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    for (const MoeLayer<T>* layer : layers) {
      append_terms(layer->routed(g), layer->shape().router.balance_scope == gating::BalanceScope::step, rows);
    }
  }
  const Index num_groups = step.num_groups_in_pass;
  GroupSums sums(comm::gather_groups(communicator, rows), num_groups);

  std::vector<LayerStatistics> result;
  std::span<const Index> rest = counts;
  for (const MoeLayer<T>* layer : layers) {
    const auto& options = layer->shape().router;
    result.push_back(layer_statistics(options, rest, sums, num_groups, num_groups * step.groups.rows));
    rest = rest.subspan(2 * static_cast<std::size_t>(options.experts) + ledger_counts.size());
  }
  return result;
}

std::vector<LayerStatistics> merge_passes(const std::vector<std::vector<LayerStatistics>>& passes) {
  invariant(!passes.empty(), "statistics of no pass");
  std::vector<LayerStatistics> merged(passes.front().size());
  for (std::size_t l = 0; l < merged.size(); ++l) {
    LayerStatistics& m = merged[l];
    m.load.assign(passes.front()[l].load.size(), 0);
    for (const std::vector<LayerStatistics>& pass : passes) {
      const LayerStatistics& s = pass[l];
      const auto tokens = static_cast<double>(s.tokens);
      for (std::size_t e = 0; e < m.load.size(); ++e) m.load[e] += s.load[e];
      m.tokens += s.tokens;
      for (const auto count : ledger_counts) m.*count += s.*count;
      m.balance += tokens * s.balance;
      m.z += tokens * s.z;
      m.importance += tokens * s.importance;
      m.entropy += tokens * s.entropy;
    }
    if (m.tokens == 0) continue;
    for (double* mean : {&m.balance, &m.z, &m.importance, &m.entropy}) *mean /= static_cast<double>(m.tokens);
  }
  return merged;
}

template std::vector<LayerStatistics> collect_statistics(const comm::Communicator&, const Step&,
                                                         const std::vector<const MoeLayer<float>*>&);
template std::vector<LayerStatistics> collect_statistics(const comm::Communicator&, const Step&,
                                                         const std::vector<const MoeLayer<double>*>&);

}  // namespace conclave::model
