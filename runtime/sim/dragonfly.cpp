// SPDX-License-Identifier: BSD-3-Clause
// Dragonflies (Kim et al., ISCA 2008) of two local dimensions, as the Cray Cascade has them (Faanes et al., SC 2012):
// a group is chassis x routers; routers of a chassis are linked to one another, and so are routers of the same place in
// different chassis; one link leads from each group to each other. Minimal routing: within a group first along the
// chassis to the right place, then to the right chassis. The link between groups g and h is at router h of group g
// (counted chassis after chassis, and around where there are more groups than routers), and at router g of group h.
#include "runtime/sim/fabric.hpp"

#include "runtime/core/at.hpp"

namespace conclave::sim {
namespace {

// A router's place in its group.
struct Place {
  Index chassis = 0;
  Index router = 0;
};

class Dragonfly final : public Fabric {
 public:
  explicit Dragonfly(const FabricSpec& s)
      : groups_(s.groups),
        chassis_(s.chassis),
        routers_(s.routers),
        nodes_(s.nodes),
        link_latency_s_(s.link_latency_s) {}

  [[nodiscard]] Index num_links() const override { return first_global() + groups_ * groups_; }

  // Two on each side of the one between groups.
  [[nodiscard]] Index most_links() const override { return 5; }

  [[nodiscard]] std::string link_name(Index link) const override {
    if (link >= first_global()) {
      const Index pair = link - first_global();
      return fmt::format("link from group {} to group {}", pair / groups_, pair % groups_);
    }
    if (link >= first_black()) {
      const Index place = (link - first_black()) / chassis_;
      return fmt::format("link from chassis {} to chassis {} at router {} of group {}", place / routers_ % chassis_,
                         (link - first_black()) % chassis_, place % routers_, place / (routers_ * chassis_));
    }
    const Index place = link / routers_;
    return fmt::format("link from router {} to router {} of chassis {} of group {}", place % routers_, link % routers_,
                       place / routers_ % chassis_, place / (routers_ * chassis_));
  }

  void route(NodeId from, NodeId to, Index first_link, std::vector<Index>& links) const override {
    const Index g = group_of(from);
    const Index h = group_of(to);
    if (g == h) {
      route_within(g, place_of(from), place_of(to), first_link, links);
      return;
    }
    route_within(g, place_of(from), gateway(h), first_link, links);
    links.push_back(first_link + global(g, h));
    route_within(h, gateway(g), place_of(to), first_link, links);
  }

  [[nodiscard]] double latency_s(NodeId from, NodeId to) const override {
    const Index g = group_of(from);
    const Index h = group_of(to);
    const Index hops = g == h ? hops_within(place_of(from), place_of(to))
                              : hops_within(place_of(from), gateway(h)) + 1 + hops_within(gateway(g), place_of(to));
    return path_s(hops);
  }

  [[nodiscard]] double least_latency_s(NodeId) const override { return path_s(nodes_ > 1 ? 0 : 1); }

  // Costs O(routers * (groups + chassis + routers of a chassis)).
  void add_loads(const NodeTerm& term, Index first_link, Loads& loads) const override {
    const Index num_places = chassis_ * routers_;
    std::vector<double> sent(at(groups_ * num_places), 0.0);  // by router
    std::vector<double> popularity(sent.size(), 0.0);
    std::vector<double> group_sent(at(groups_), 0.0);
    std::vector<double> group_popularity(at(groups_), 0.0);
    for (std::size_t n = 0; n < term.sent.size(); ++n) {
      sent[n / at(nodes_)] += term.sent[n];
      popularity[n / at(nodes_)] += term.popularity[n];
      group_sent[n / at(nodes_ * num_places)] += term.sent[n];
      group_popularity[n / at(nodes_ * num_places)] += term.popularity[n];
    }
    for (Index g = 0; g < groups_; ++g) {
      for (Index h = 0; h < groups_; ++h) {
        if (h != g) loads.add(first_link + global(g, h), group_sent[at(g)] * group_popularity[at(h)], path_s(1));
      }
      const std::span<const double> here_sent(sent.data() + g * num_places, at(num_places));
      const std::span<const double> here_popularity(popularity.data() + g * num_places, at(num_places));
      add_within(g, {here_sent, here_popularity}, first_link, loads);
      add_passing(g, {here_sent, here_popularity}, {group_sent, group_popularity}, first_link, loads);
    }
  }

 private:
  // Links of a chassis (green in the Cascade's words), between chassis (black), between groups.
  [[nodiscard]] Index first_black() const { return groups_ * chassis_ * routers_ * routers_; }
  [[nodiscard]] Index first_global() const { return first_black() + groups_ * chassis_ * routers_ * chassis_; }
  [[nodiscard]] Index router_number(Index g, Place p) const { return (g * chassis_ + p.chassis) * routers_ + p.router; }
  [[nodiscard]] Index green(Index g, Place from, Index router) const {
    return router_number(g, from) * routers_ + router;
  }
  [[nodiscard]] Index black(Index g, Place from, Index chassis) const {
    return first_black() + router_number(g, from) * chassis_ + chassis;
  }
  [[nodiscard]] Index global(Index g, Index h) const { return first_global() + g * groups_ + h; }

  [[nodiscard]] Index group_of(NodeId node) const { return node.value() / (nodes_ * routers_ * chassis_); }
  [[nodiscard]] Place place(Index router) const { return {router / routers_ % chassis_, router % routers_}; }
  [[nodiscard]] Place place_of(NodeId node) const { return place(node.value() / nodes_); }
  // Of a group, for what goes to or comes from another one.
  [[nodiscard]] Place gateway(Index other_group) const { return place(other_group); }

  static Index hops_within(Place from, Place to) {
    return (from.router != to.router ? 1 : 0) + (from.chassis != to.chassis ? 1 : 0);
  }
  // Links between routers, and the nodes' own.
  [[nodiscard]] double path_s(Index hops) const { return link_latency_s_ * static_cast<double>(hops + 2); }

  void route_within(Index g, Place from, Place to, Index first_link, std::vector<Index>& links) const {
    if (from.router != to.router) links.push_back(first_link + green(g, from, to.router));
    if (from.chassis != to.chassis) links.push_back(first_link + black(g, {from.chassis, to.router}, to.chassis));
  }

  // From routers of a group to routers of the same, by sums over the places that a link's messages come from or go to.
  void add_within(Index g, const NodeTerm& here, Index first_link, Loads& loads) const {
    std::vector<double> column(at(routers_), 0.0);    // popularity of a place in all chassis
    std::vector<double> all_sent(at(chassis_), 0.0);  // of a chassis
    for (Index p = 0; p < chassis_ * routers_; ++p) {
      column[at(p % routers_)] += here.popularity[at(p)];
      all_sent[at(p / routers_)] += here.sent[at(p)];
    }
    for (Index p = 0; p < chassis_ * routers_; ++p) {
      const Place from = place(p);
      for (Index router = 0; router < routers_; ++router) {
        if (router == from.router) continue;
        loads.add(first_link + green(g, from, router), here.sent[at(p)] * column[at(router)], path_s(1));
      }
      for (Index chassis = 0; chassis < chassis_; ++chassis) {
        if (chassis == from.chassis) continue;
        const double popularity = here.popularity[at(chassis * routers_ + from.router)];
        loads.add(first_link + black(g, from, chassis), all_sent[at(from.chassis)] * popularity, path_s(1));
      }
    }
  }

  // Between a router and a gateway; the link between groups is on the way too.
  void add_route(Index g, Place from, Place to, double bytes, Index first_link, Loads& loads) const {
    const double latency_s = path_s(hops_within(from, to) + 1);
    if (from.router != to.router) loads.add(first_link + green(g, from, to.router), bytes, latency_s);
    if (from.chassis != to.chassis) {
      loads.add(first_link + black(g, {from.chassis, to.router}, to.chassis), bytes, latency_s);
    }
  }

  // To and from other groups: through the gateways.
  void add_passing(Index g, const NodeTerm& here, const NodeTerm& all, Index first_link, Loads& loads) const {
    for (Index h = 0; h < groups_; ++h) {
      if (h == g) continue;
      for (Index p = 0; p < chassis_ * routers_; ++p) {
        add_route(g, place(p), gateway(h), here.sent[at(p)] * all.popularity[at(h)], first_link, loads);
        add_route(g, gateway(h), place(p), all.sent[at(h)] * here.popularity[at(p)], first_link, loads);
      }
    }
  }

  Index groups_;
  Index chassis_;  // of a group
  Index routers_;  // of a chassis
  Index nodes_;    // of a router
  double link_latency_s_;
};

}  // namespace

std::unique_ptr<Fabric> make_dragonfly(const Cluster& cluster) { return std::make_unique<Dragonfly>(cluster.fabric); }

}  // namespace conclave::sim
