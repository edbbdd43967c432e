// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/step_report.hpp"

#include "gating/losses.hpp"
#include "runtime/core/reduction_tree.hpp"
#include "runtime/core/scratch.hpp"

namespace conclave::model {
namespace {

bool balances_over_step(const gating::RouterOptions& router) {
  return router.balance_scope == gating::BalanceScope::step;
}

// Of one layer in a pass: load, counted claims, the ledger's.
Index num_counts(const gating::RouterOptions& router) { return 2 * router.experts + std::ssize(ledger_counts); }

// Of one layer in a group: z sum, importance, entropy sum, then either its balance loss, or its probabilities where
// the balance is taken over the step.
Index num_terms(const gating::RouterOptions& router) { return 3 + (balances_over_step(router) ? router.experts : 1); }

template <class T>
void append_terms(const gating::RouterTape<T>& routed, const gating::RouterOptions& router,
                  std::vector<double>& terms) {
  const gating::BalanceTerms& b = routed.balance;
  for (const double term : {b.z_sum, b.importance, b.entropy_sum}) terms.push_back(term);
  if (balances_over_step(router)) {
    terms.insert(terms.end(), b.probability.begin(), b.probability.end());
  } else {
    terms.push_back(gating::balance_loss(b.counted, b.probability, routed.routing.num_tokens()));
  }
}

/// The counts of the ledger of one routing, in the order of ledger_counts.
template <class T>
std::array<Index, ledger_counts.size()> counts_of(const gating::Routing<T>& routing) {
  const gating::RoutingCounts& c = routing.counts();
  return {c.count(gating::DropReason::over_capacity), c.count(gating::DropReason::refused_second),
          c.count(gating::DropReason::unchosen), c.rerouted, routing.num_unserved()};
}

template <class T>
void append_counts(const MoeLayer<T>& layer, const Step& step, std::vector<Index>& all) {
  const auto num_experts = static_cast<std::size_t>(layer.shape().router.experts);
  all.resize(all.size() + static_cast<std::size_t>(num_counts(layer.shape().router)), 0);
  const std::span<Index> counts = std::span(all).last(static_cast<std::size_t>(num_counts(layer.shape().router)));
  for (Index g = 0; g < step.groups.num_groups; ++g) {
    const gating::RouterTape<T>& routed = layer.routed(g);
    for (std::size_t e = 0; e < num_experts; ++e) {
      counts[e] += routed.routing.counts().load[e];
      counts[num_experts + e] += routed.balance.counted[e];
    }
    const auto ledger = counts_of(routed.routing);
    for (std::size_t i = 0; i < ledger.size(); ++i) counts[2 * num_experts + i] += ledger[i];
  }
}

/// Sums over a pass's groups, each in the fixed tree, of one term after another.
class GroupSums {
 public:
  /// rows[g]: where the terms of group g begin in `all`.
  GroupSums(std::span<const double> all, std::span<const Index> rows) : all_(all), rows_(rows) {}
  double next() {
    Scratch scratch;
    const std::span<double> column = scratch.values<double>(std::ssize(rows_));
    for (std::size_t g = 0; g < rows_.size(); ++g) column[g] = all_[static_cast<std::size_t>(rows_[g]) + next_];
    ++next_;
    return tree_sum(column);
  }

 private:
  std::span<const double> all_;
  std::span<const Index> rows_;
  std::size_t next_ = 1;  // after the loss
};

void read_layer(const gating::RouterOptions& router, std::span<const Index> counts, GroupSums& sums, Index num_groups,
                LayerStatistics& s) {
  const auto num_experts = static_cast<std::size_t>(router.experts);
  const std::span<const Index> load = counts.first(num_experts);
  s.load.assign(load.begin(), load.end());
  for (std::size_t i = 0; i < ledger_counts.size(); ++i) s.*ledger_counts[i] = counts[2 * num_experts + i];
  if (s.tokens == 0) return;
  s.z = sums.next() / static_cast<double>(s.tokens);
  s.importance = sums.next() / static_cast<double>(num_groups);
  s.entropy = sums.next() / static_cast<double>(s.tokens);
  if (!balances_over_step(router)) {
    s.balance = sums.next() / static_cast<double>(num_groups);
    return;
  }
  Scratch scratch;
  const std::span<double> probability = scratch.values<double>(router.experts);
  for (double& p : probability) p = sums.next();
  s.balance = gating::balance_loss(counts.subspan(num_experts, num_experts), probability, s.tokens);
}

}  // namespace

template <class T>
StepReport<T>::StepReport(const comm::Communicator& communicator, std::vector<const MoeLayer<T>*> layers)
    : communicator_(communicator), moe_layers_(std::move(layers)) {
  for (const MoeLayer<T>* layer : moe_layers_) {
    num_counts_ += num_counts(layer->shape().router);
    num_terms_ += num_terms(layer->shape().router);
  }
}

template <class T>
void StepReport<T>::add_pass(const Step& step, std::span<const LossSums> losses) {
  const Pass& pass = passes_.emplace_back(step.num_groups_in_pass, step.groups.rows);
  const Index mine = groups_of(communicator_.rank(), pass).size();
  invariant(step.groups.num_groups == mine && (losses.empty() || std::ssize(losses) == mine),
            "{} losses of {} groups, of which this rank should have {}", losses.size(), step.groups.num_groups, mine);
  for (const MoeLayer<T>* layer : moe_layers_) append_counts(*layer, step, counts_);
  for (Index g = 0; g < mine; ++g) {
    terms_.push_back(losses.empty() ? 0.0 : losses[static_cast<std::size_t>(g)].nats);
    for (const MoeLayer<T>* layer : moe_layers_) append_terms(layer->routed(g), layer->shape().router, terms_);
  }
}

template <class T>
void StepReport<T>::share(std::span<const double> of_rank) {
  if (!counts_.empty()) communicator_.sum(counts_);
  gather(of_rank);
  Scratch scratch;
  const std::span<Index> next = scratch.values<Index>(communicator_.size());  // where a rank's terms go on
  for (std::size_t r = 0; r < next.size(); ++r) next[r] = places_[r].begin + num_of_rank_;
  group_nats_.clear();
  merged_.resize(moe_layers_.size());
  for (LayerStatistics& s : merged_) s.forget();
  std::span<const Index> counts = counts_;
  for (const Pass& pass : passes_) {
    read_pass(pass, counts.first(static_cast<std::size_t>(num_counts_)), next);
    counts = counts.subspan(static_cast<std::size_t>(num_counts_));
  }
  nats_ = tree_sum(group_nats_);
  passes_.clear();
  counts_.clear();
  terms_.clear();
}

// One message: every rank knows who has how many groups.
template <class T>
void StepReport<T>::gather(std::span<const double> of_rank) {
  num_of_rank_ = std::ssize(of_rank);
  places_.clear();
  Index total = 0;
  for (RankId rank; rank < RankId{communicator_.size()}; ++rank) {
    const Index begin = total;
    total += num_of_rank_;
    for (const Pass& pass : passes_) total += groups_of(rank, pass).size() * num_terms_;
    places_.push_back({begin, total});
  }
  all_.resize(static_cast<std::size_t>(total));
  const Range own = places_[static_cast<std::size_t>(communicator_.rank().value())];
  std::ranges::copy(terms_, std::ranges::copy(of_rank, all_.begin() + own.begin).out);
  communicator_.gather_all_in_place<double>(all_, places_);
}

template <class T>
void StepReport<T>::read_pass(const Pass& pass, std::span<const Index> counts, std::span<Index> next) {
  rows_.clear();
  for (RankId rank; rank < RankId{communicator_.size()}; ++rank) {
    Index& row = next[static_cast<std::size_t>(rank.value())];
    for (Index g = 0; g < groups_of(rank, pass).size(); ++g, row += num_terms_) rows_.push_back(row);
  }
  for (const Index row : rows_) group_nats_.push_back(all_[static_cast<std::size_t>(row)]);
  GroupSums sums(all_, rows_);
  for (std::size_t l = 0; l < moe_layers_.size(); ++l) {
    const gating::RouterOptions& router = moe_layers_[l]->shape().router;
    of_pass_.forget();
    of_pass_.tokens = pass.num_groups * pass.group_rows;
    read_layer(router, counts.first(static_cast<std::size_t>(num_counts(router))), sums, pass.num_groups, of_pass_);
    merged_[l].add(of_pass_);
    counts = counts.subspan(static_cast<std::size_t>(num_counts(router)));
  }
}

template <class T>
std::span<const double> StepReport<T>::of_rank(RankId rank) const {
  return std::span(all_).subspan(static_cast<std::size_t>(places_[static_cast<std::size_t>(rank.value())].begin),
                                 static_cast<std::size_t>(num_of_rank_));
}

template <class T>
std::vector<LayerStatistics> collect_statistics(const comm::Communicator& communicator, const Step& step,
                                                const std::vector<const MoeLayer<T>*>& layers) {
  StepReport<T> report(communicator, layers);
  report.add_pass(step, {});
  report.share();
  return report.layers();
}

template class StepReport<float>;
template class StepReport<double>;
template std::vector<LayerStatistics> collect_statistics(const comm::Communicator&, const Step&,
                                                         const std::vector<const MoeLayer<float>*>&);
template std::vector<LayerStatistics> collect_statistics(const comm::Communicator&, const Step&,
                                                         const std::vector<const MoeLayer<double>*>&);

}  // namespace conclave::model
