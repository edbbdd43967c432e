// SPDX-License-Identifier: BSD-3-Clause
// Tori of any number of dimensions, where nodes are their own routers. Dimension-order routing: a message goes all its
// way in the first dimension, then in the second, and so on, each the shorter way round; half-way round an even ring it
// goes up. A message on its way in dimension j has its destination's place in the dimensions before and its source's in
// those after. So a ring of dimension j carries, from its place p to its place q,
//   (sum of `sent` over sources with place p, the ring's places after j, any before) *
//   (sum of `popularity` over destinations with place q, the ring's places before j, any after).
#include "runtime/sim/fabric.hpp"

#include "runtime/core/at.hpp"

namespace conclave::sim {
namespace {

// What the links upwards carry around one ring. Places are kept twice over, so that inner loops run without turning
// around and a compiler makes vectors of them.
class Ring {
 public:
  explicit Ring(Index size)
      : size_(size), sent_(at(2 * size)), popularity_(at(2 * size)), reached_(at(size)), carried_(at(size)) {}

  void set(Index place, double sent, double popularity) {
    sent_[at(place)] = sent_[at(place + size_)] = sent;
    popularity_[at(place)] = popularity_[at(place + size_)] = popularity;
  }
  // Messages go at most `most` steps. The link from place i to the next carries, of those from i - k, k < most, what
  // goes to i + 1 ... i - k + most.
  void carry(Index most) {
    std::fill(reached_.begin(), reached_.end(), 0.0);
    std::fill(carried_.begin(), carried_.end(), 0.0);
    for (Index k = most - 1; k >= 0; --k) {
      const double* farthest = popularity_.data() + (most - k);
      const double* source = sent_.data() + (size_ - k);
      for (std::size_t i = 0; i < reached_.size(); ++i) {
        reached_[i] += farthest[i];
        carried_[i] += source[i] * reached_[i];
      }
    }
  }
  [[nodiscard]] double carried(Index place) const { return carried_[at(place)]; }

 private:
  Index size_;
  std::vector<double> sent_;        // [2 size]
  std::vector<double> popularity_;  // [2 size]
  std::vector<double> reached_;     // [size] popularity of the destinations of k
  std::vector<double> carried_;     // [size]
};

class Torus final : public Fabric {
 public:
  Torus(const FabricSpec& spec, Index nodes) : nodes_(nodes), dims_(spec.dims), link_latency_s_(spec.link_latency_s) {
    Index stride = 1;
    for (const Index dim : dims_) {
      strides_.push_back(stride);
      stride *= dim;
    }
  }

  [[nodiscard]] bool has_nics() const override { return false; }
  [[nodiscard]] Index num_links() const override { return 2 * num_dims() * nodes_; }
  [[nodiscard]] Index most_links() const override {
    Index links = 0;
    for (Index j = 0; j < num_dims(); ++j) links += most_up(j);
    return links;
  }

  [[nodiscard]] std::string link_name(Index link) const override {
    const Index j = link / 2 % num_dims();
    return fmt::format("link of node {}, dimension {}, {}", link / (2 * num_dims()), j, link % 2 == 0 ? "up" : "down");
  }

  [[nodiscard]] std::vector<Index> links_of(NodeId node) const override {
    std::vector<Index> links;
    for (Index j = 0; j < num_dims(); ++j) {
      for (const Way way : {up, down}) {
        links.push_back(link(node.value(), j, way));
        links.push_back(link(neighbour(node.value(), j, way == up ? down : up), j, way));
      }
    }
    return links;
  }

  void route(NodeId from, NodeId to, Index first_link, std::vector<Index>& links) const override {
    Index node = from.value();
    for (Index j = 0; j < num_dims(); ++j) {
      const Index ahead = steps_up(place(node, j), place(to.value(), j), dims_[at(j)]);
      const Way way = ahead <= most_up(j) ? up : down;
      for (Index left = way == up ? ahead : dims_[at(j)] - ahead; left > 0; --left) {
        links.push_back(first_link + link(node, j, way));
        node = neighbour(node, j, way);
      }
    }
  }

  [[nodiscard]] double latency_s(NodeId from, NodeId to) const override {
    Index hops = 0;
    for (Index j = 0; j < num_dims(); ++j) {
      const Index ahead = steps_up(place(from.value(), j), place(to.value(), j), dims_[at(j)]);
      hops += std::min(ahead, dims_[at(j)] - ahead);
    }
    return link_latency_s_ * static_cast<double>(hops);
  }

  [[nodiscard]] double least_latency_s(NodeId) const override { return link_latency_s_; }

  // Costs O(nodes * sum of dims).
  void add_loads(const NodeTerm& term, Index first_link, Loads& loads) const override {
    for (Index j = 0; j < num_dims(); ++j) {
      // Any places before j: sums over runs of stride. Any places after: sums over what has the same lower part.
      const Index below = strides_[at(j)];
      const Index ring = dims_[at(j)];
      const Index above = nodes_ / (below * ring);
      std::vector<double> sent(at(above * ring), 0.0);        // [above][ring]
      std::vector<double> popularity(at(below * ring), 0.0);  // [ring][below]
      for (Index n = 0; n < nodes_; ++n) {
        sent[at(n / below)] += term.sent[at(n)];
        popularity[at(n % (below * ring))] += term.popularity[at(n)];
      }
      Ring here(ring);
      for (Index high = 0; high < above; ++high) {
        for (Index low = 0; low < below; ++low) {
          for (const Way way : {up, down}) {
            // Downwards is upwards in the mirror.
            const auto place = [&](Index i) { return way == up ? i : ring - 1 - i; };
            for (Index i = 0; i < ring; ++i) {
              here.set(i, sent[at(high * ring + place(i))], popularity[at(place(i) * below + low)]);
            }
            here.carry(way == up ? ring / 2 : (ring - 1) / 2);
            for (Index i = 0; i < ring; ++i) {
              const Index node = (high * ring + place(i)) * below + low;
              loads.add(first_link + link(node, j, way), here.carried(i), link_latency_s_);
            }
          }
        }
      }
    }
  }

 private:
  enum Way : Index { up = 0, down = 1 };

  static Index steps_up(Index from, Index to, Index ring) { return (to - from + ring) % ring; }
  [[nodiscard]] Index num_dims() const { return std::ssize(dims_); }
  [[nodiscard]] Index most_up(Index j) const { return dims_[at(j)] / 2; }
  [[nodiscard]] Index place(Index node, Index j) const { return node / strides_[at(j)] % dims_[at(j)]; }
  [[nodiscard]] Index link(Index node, Index j, Way way) const { return 2 * (node * num_dims() + j) + way; }
  [[nodiscard]] Index neighbour(Index node, Index j, Way way) const {
    const Index ring = dims_[at(j)];
    const Index next = (place(node, j) + (way == up ? 1 : ring - 1)) % ring;
    return node + (next - place(node, j)) * strides_[at(j)];
  }

  Index nodes_;
  std::vector<Index> dims_;
  std::vector<Index> strides_;  // of each dimension in a node's number
  double link_latency_s_;
};

}  // namespace

std::unique_ptr<Fabric> make_torus(const Cluster& cluster) {
  return std::make_unique<Torus>(cluster.fabric, cluster.nodes);
}

}  // namespace conclave::sim
