// SPDX-License-Identifier: BSD-3-Clause
// Fat trees of any number of levels, as extended generalised fat trees (Oehring et al., IPPS 1995) with one link
// between a switch and each of its parents, and destination-modulo routing (D-mod-K; Zahavi, "D-Mod-K routing providing
// non-blocking traffic for shift permutations on real life fat trees", 2010): the way up depends on the destination
// alone. A subtree of level l has the m_1 ... m_l nodes below one switch position, and above it W = w_1 ... w_l links
// up and as many down (w_1 = spines of a leaf): what goes to node d leaves it by link d mod W, and comes into its
// subtree by link d mod W. So loads are sums over destinations in a stride:
//   up-link q of subtree S:    A_S * sum of w_d over d outside S, d mod W = q
//   down-link q of subtree S:  (A - A_S) * sum of w_d over d in S, d mod W = q
#include "runtime/sim/fabric.hpp"

#include "runtime/core/at.hpp"

#include <numeric>

namespace conclave::sim {
namespace {

// The subtrees of one level, and the links between them and the switches above.
struct TreeLevel {
  Index subtree_nodes = 1;
  Index num_subtrees = 1;
  Index num_up = 1;      // links above each subtree
  Index first_link = 0;  // subtree 0's first up-link; its down-links follow its up-links, then subtree 1
  [[nodiscard]] Index up_link(Index subtree, Index q) const { return first_link + 2 * subtree * num_up + q; }
  [[nodiscard]] Index down_link(Index subtree, Index q) const { return up_link(subtree, q) + num_up; }
  [[nodiscard]] Index end() const { return first_link + 2 * num_subtrees * num_up; }
};

class FatTree final : public Fabric {
 public:
  FatTree(const FabricSpec& spec, Index nodes) : nodes_(nodes), link_latency_s_(spec.link_latency_s) {
    TreeLevel level;
    for (std::size_t l = 0; l < spec.up.size(); ++l) {
      level.subtree_nodes *= spec.down[l];
      level.num_subtrees = nodes / level.subtree_nodes;
      level.num_up *= spec.up[l];
      level.first_link = num_links();
      levels_.push_back(level);
    }
  }

  [[nodiscard]] Index num_links() const override { return levels_.empty() ? 0 : levels_.back().end(); }

  [[nodiscard]] Index most_links() const override { return 2 * std::ssize(levels_); }

  [[nodiscard]] std::string link_name(Index link) const override {
    std::size_t l = 0;
    while (levels_[l].end() <= link) ++l;
    const Index place = link - levels_[l].first_link;
    const Index subtree = place / (2 * levels_[l].num_up);
    const Index q = place % (2 * levels_[l].num_up);
    const bool is_up = q < levels_[l].num_up;
    const std::string below =
        l == 0 ? fmt::format("leaf {}", subtree) : fmt::format("level {} subtree {}", l + 1, subtree);
    return fmt::format("{}-link {} of {}", is_up ? "up" : "down", is_up ? q : q - levels_[l].num_up, below);
  }

  void route(NodeId from, NodeId to, Index first_link, std::vector<Index>& links) const override {
    const std::size_t top = levels_apart(from, to);
    for (std::size_t l = 0; l < top; ++l) {
      const TreeLevel& level = levels_[l];
      links.push_back(first_link + level.up_link(from.value() / level.subtree_nodes, to.value() % level.num_up));
    }
    for (std::size_t l = top; l-- > 0;) {
      const TreeLevel& level = levels_[l];
      links.push_back(first_link + level.down_link(to.value() / level.subtree_nodes, to.value() % level.num_up));
    }
  }

  [[nodiscard]] double latency_s(NodeId from, NodeId to) const override { return path_s(levels_apart(from, to)); }

  [[nodiscard]] double least_latency_s(NodeId) const override {
    for (std::size_t l = 0; l < levels_.size(); ++l) {
      if (levels_[l].subtree_nodes > 1) return path_s(l);
    }
    return path_s(levels_.size());
  }

  void add_loads(const NodeTerm& term, Index first_link, Loads& loads) const override {
    for (std::size_t l = 0; l < levels_.size(); ++l) {
      // The next larger subtree is the nearest that has nodes outside.
      std::size_t above = l + 1;
      while (above < levels_.size() && levels_[above].num_subtrees == levels_[l].num_subtrees) ++above;
      add_level(levels_[l], path_s(above), term, first_link, loads);
    }
  }

 private:
  // How many levels of links a message climbs: subtrees of fewer levels do not have both.
  [[nodiscard]] std::size_t levels_apart(NodeId from, NodeId to) const {
    std::size_t l = 0;
    while (l < levels_.size() && from.value() / levels_[l].subtree_nodes != to.value() / levels_[l].subtree_nodes) {
      ++l;
    }
    return l;
  }

  // The nodes' own links, and a link up and one down for each level.
  [[nodiscard]] double path_s(std::size_t levels) const {
    return link_latency_s_ * static_cast<double>(2 * (levels + 1));
  }

  // Sums before and after a subtree are kept apart, rather than taken as what the whole has more: where most of the
  // traffic stays in one subtree the difference would be nothing but rounding.
  void add_level(const TreeLevel& level, double latency_s, const NodeTerm& term, Index first_link, Loads& loads) const {
    const std::vector<double> sent = sums_of_runs(term.sent, level.subtree_nodes);
    std::vector<double> before(sent.size(), 0.0);
    std::vector<double> after(sent.size(), 0.0);
    std::exclusive_scan(sent.begin(), sent.end(), before.begin(), 0.0);
    std::exclusive_scan(sent.rbegin(), sent.rend(), after.rbegin(), 0.0);
    std::vector<double> within(at(level.num_subtrees * level.num_up), 0.0);  // popularity, [subtree][link]
    for (Index d = 0; d < nodes_; ++d) {
      within[at(d / level.subtree_nodes * level.num_up + d % level.num_up)] += term.popularity[at(d)];
    }
    for (Index q = 0; q < level.num_up; ++q) {
      double popular_before = 0.0;
      for (Index s = 0; s < level.num_subtrees; ++s) {
        loads.add(first_link + level.up_link(s, q), sent[at(s)] * popular_before, latency_s);
        popular_before += within[at(s * level.num_up + q)];
      }
      double popular_after = 0.0;
      for (Index s = level.num_subtrees; s-- > 0;) {
        const double popular = within[at(s * level.num_up + q)];
        loads.add(first_link + level.up_link(s, q), sent[at(s)] * popular_after, latency_s);
        loads.add(first_link + level.down_link(s, q), (before[at(s)] + after[at(s)]) * popular, latency_s);
        popular_after += popular;
      }
    }
  }

  Index nodes_;
  double link_latency_s_;
  std::vector<TreeLevel> levels_;  // leaves first
};

}  // namespace

std::unique_ptr<Fabric> make_fat_tree(const Cluster& cluster) {
  return std::make_unique<FatTree>(cluster.fabric, cluster.nodes);
}

}  // namespace conclave::sim
