// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/moe_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::model {
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

void LayerStatistics::add(const LayerStatistics& other) {
  if (load.empty()) load.assign(other.load.size(), 0);
  invariant(load.size() == other.load.size(), "the loads of {} and of {} experts", load.size(), other.load.size());
  for (std::size_t e = 0; e < load.size(); ++e) load[e] += other.load[e];
  for (const auto count : ledger_counts) this->*count += other.*count;
  if (other.tokens == 0) return;
  tokens += other.tokens;
  const double share = static_cast<double>(other.tokens) / static_cast<double>(tokens);
  for (const auto mean :
       {&LayerStatistics::balance, &LayerStatistics::z, &LayerStatistics::importance, &LayerStatistics::entropy}) {
    this->*mean += share * (other.*mean - this->*mean);
  }
}

void LayerStatistics::forget() {
  std::vector<Index> kept = std::move(load);
  kept.clear();
  *this = {};
  load = std::move(kept);
}

}  // namespace conclave::model
