// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/fabric.hpp"

#include "runtime/core/at.hpp"

namespace conclave::sim {
namespace {

struct FabricMaker {
  FabricKind kind;
  std::unique_ptr<Fabric> (*make)(const Cluster& cluster);
};

constexpr std::array<FabricMaker, 4> makers{{{FabricKind::crossbar, make_crossbar},
                                             {FabricKind::fat_tree, make_fat_tree},
                                             {FabricKind::torus, make_torus},
                                             {FabricKind::dragonfly, make_dragonfly}}};

}  // namespace

std::vector<double> sums_of_runs(std::span<const double> values, Index run) {
  std::vector<double> sums(values.size() / at(run), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) sums[i / at(run)] += values[i];
  return sums;
}

// What is for others is summed as what stands before and what stands after, not as the difference of all and one's own:
// where one node has nearly everything that would be nothing but rounding.
void add_crossing(const NodeTerm& term, Crossing& crossing) {
  double sent_by_others = 0.0;
  double for_others = 0.0;
  const auto add = [&](std::size_t n) {
    crossing.sent[n] += term.sent[n] * for_others;
    crossing.received[n] += sent_by_others * term.popularity[n];
    sent_by_others += term.sent[n];
    for_others += term.popularity[n];
  };
  for (std::size_t n = 0; n < term.sent.size(); ++n) add(n);
  sent_by_others = for_others = 0.0;
  for (std::size_t n = term.sent.size(); n-- > 0;) add(n);
}

std::unique_ptr<Fabric> make_fabric(const Cluster& cluster) {
  for (const FabricMaker& maker : makers) {
    if (maker.kind == cluster.fabric.kind) return maker.make(cluster);
  }
  invariant(false, "a fabric of kind {} that nobody makes", name_of(cluster.fabric.kind));
  return nullptr;
}

}  // namespace conclave::sim
