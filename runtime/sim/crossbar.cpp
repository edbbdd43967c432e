// SPDX-License-Identifier: BSD-3-Clause
// Nothing but NICs: every node reaches every other at full speed.
#include "runtime/sim/fabric.hpp"

namespace conclave::sim {
namespace {

class Crossbar final : public Fabric {
 public:
  explicit Crossbar(double latency_s) : latency_s_(latency_s) {}

  [[nodiscard]] Index num_links() const override { return 0; }
  [[nodiscard]] Index most_links() const override { return 0; }
  [[nodiscard]] std::string link_name(Index link) const override {
    invariant(false, "link {} of a crossbar", link);
    return {};
  }
  void route(NodeId, NodeId, Index, std::vector<Index>&) const override {}
  [[nodiscard]] double latency_s(NodeId, NodeId) const override { return latency_s_; }
  [[nodiscard]] double least_latency_s(NodeId) const override { return latency_s_; }
  void add_loads(const NodeTerm&, Index, Loads&) const override {}

 private:
  double latency_s_;
};

}  // namespace

std::unique_ptr<Fabric> make_crossbar(const Cluster& cluster) { return std::make_unique<Crossbar>(cluster.latency_s); }

}  // namespace conclave::sim
