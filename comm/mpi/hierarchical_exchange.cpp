// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/hierarchical_exchange.hpp"

#include "comm/mpi/bundle_contents.hpp"
#include "comm/mpi/messages.hpp"
#include "comm/mpi/node_room.hpp"
#include "comm/mpi/node_table.hpp"
#include "comm/plan/hierarchical.hpp"
#include "runtime/core/parallel.hpp"

#include <cstring>

namespace conclave::comm {
namespace {

class HierarchicalInbox final : public Inbox {
 public:
  HierarchicalInbox(const Exchange& exchange, const Communicator& node, int tag)
      : Inbox(exchange),
        node_(node),
        room_(node),
        unit_(plan::BundleLayout::unit_bytes, MPI_BYTE),
        messages_(communicator(), tag) {}
  ~HierarchicalInbox() override { end_forgotten(); }

 private:
  [[nodiscard]] NodeId own_node() const { return topology().node(rank()); }
  [[nodiscard]] const std::vector<RankId>& mates() const { return topology().ranks(own_node()); }
  [[nodiscard]] Index own() const { return node_.rank().value(); }
  [[nodiscard]] std::size_t num_numbers() const { return static_cast<std::size_t>(1 + 3 * topology().num_nodes()); }

  [[nodiscard]] Index end_of_rounds() const { return topology().num_nodes(); }
  [[nodiscard]] const plan::NodeBundles::Bundle& outgoing(Index round) const {
    return bundles_.outgoing(plan::node_to(topology(), own_node(), round));
  }
  [[nodiscard]] const plan::NodeBundles::Bundle& incoming(Index round) const {
    return bundles_.incoming(plan::node_from(topology(), own_node(), round));
  }
  [[nodiscard]] Index carrier(Index round) const { return plan::carrier(topology(), own_node(), round); }

  void do_open() override {
    contents_.sort_out(shape(), topology(), rank(), sources());
    publish();
    lay_out_bundles();
    for (Index mate = 0; mate < node_.size(); ++mate) {
      const RankId peer = mates()[static_cast<std::size_t>(mate)];
      add_slots(peer, runs_in_node_table(room_.table(mate), num_numbers(), node_.size(), own()), room_.rows(mate));
      note_step(0, rank(), peer, shape().rows_to(peer) * row_bytes());
    }
    for (Index round = 1; round < end_of_rounds(); ++round) fill_bundle(plan::node_to(topology(), own_node(), round));
  }

  // bytes of the rows that arrive here; of each node: rows for it, distinct ones, rows from it; runs for mates' rows
  void publish() {
    numbers_.assign(1, shape().total_received() * row_bytes());
    for (NodeId node; node < NodeId{topology().num_nodes()}; ++node) {
      const plan::NodeRows rows = contents_.rows(node);
      numbers_.insert(numbers_.end(), {rows.rows_out, rows.distinct_out, rows.rows_in});
    }
    write_node_table(numbers_, shape().received(), mates(), table_);
    room_.publish(table_);
  }

  [[nodiscard]] plan::NodeRows rows_of(Index mate, NodeId node) const {
    const auto at = static_cast<std::size_t>(1 + 3 * node.value());
    const std::span<const Index> table = room_.table(mate);
    return {table[at], table[at + 1], table[at + 2]};
  }

  void lay_out_bundles() {
    bundles_.lay_out(
        topology(), own_node(), sources().has_value(), row_bytes(),
        [&](Index mate, NodeId node) { return rows_of(mate, node); },
        [&](Index mate) { return room_.table(mate).front(); });
    room_.make_room(bundles_.bytes_needed());
  }

  [[nodiscard]] std::byte* begin_of(const plan::NodeBundles::Bundle& bundle) const {
    return room_.rows(bundle.carrier) + bundle.begin;
  }

  // This rank's part of the bundle for a node: its counts and indices now, its rows by whoever writes the slots.
  void fill_bundle(NodeId node) {
    const plan::NodeBundles::Bundle& bundle = bundles_.outgoing(node);
    if (bundle.bytes == 0) return;
    plan::NodeRows before;  // of the mates whose parts come first
    for (Index mate = 0; mate < own(); ++mate) {
      before.rows_out += rows_of(mate, node).rows_out;
      before.distinct_out += rows_of(mate, node).distinct_out;
    }
    contents_.write_header(node, own(), bundle.layout, before.rows_out, begin_of(bundle));
    std::byte* const rows = begin_of(bundle) + bundle.layout.rows_begin(bundle.rows);
    contents_.for_each_row(node, [&](Index row, Index place, bool is_first) {
      add_slot(row, is_first ? rows + (before.distinct_out + place) * row_bytes() : nullptr);
    });
    note_step(0, rank(), mates()[static_cast<std::size_t>(bundle.carrier)],
              contents_.rows(node).distinct_out * row_bytes());
  }

  void do_start() override {
    room_.signal_written();
    next_round_ = 1;
    go_to_own_round();
  }

  void go_to_own_round() {
    while (next_round_ < end_of_rounds() && carrier(next_round_) != own()) ++next_round_;
  }

  [[nodiscard]] bool may_begin(Index round) const {
    if (!room_.all_have_written()) return false;
    const Index bytes = std::max(outgoing(round).bytes, incoming(round).bytes);
    return round == 1 || bytes <= plan::most_bytes_of_small_bundle || room_.has_landed(carrier(round - 1), round - 1);
  }

  void begin(Index round) {
    const auto rank_of = [&](NodeId node) {
      return topology().ranks(node)[static_cast<std::size_t>(plan::carrier(topology(), node, round))];
    };
    if (const auto& bundle = outgoing(round); bundle.bytes > 0) {
      const RankId to = rank_of(plan::node_to(topology(), own_node(), round));
      messages_.send(to, begin_of(bundle), bundle.bytes / plan::BundleLayout::unit_bytes, unit_);
      note_step(round, rank(), to, bundle.bytes);
    }
    if (const auto& bundle = incoming(round); bundle.bytes > 0) {
      messages_.receive(rank_of(plan::node_from(topology(), own_node(), round)), begin_of(bundle),
                        bundle.bytes / plan::BundleLayout::unit_bytes, unit_);
    }
  }

  // Begins those of this rank's rounds that may; the last one, or 0.
  Index begin_rounds() {
    Index last = 0;
    while (next_round_ < end_of_rounds() && may_begin(next_round_)) {
      begin(last = next_round_++);
      go_to_own_round();
    }
    return last;
  }

  // A carrier's bundles leave when all mates have written; when a round's are there, it says so.
  bool do_test() override {
    while (messages_.test()) {
      if (under_way_ > 0) room_.signal_landed(under_way_);
      under_way_ = begin_rounds();
      if (under_way_ == 0) break;
    }
    return next_round_ == end_of_rounds() && under_way_ == 0 && everything_is_here();
  }

  [[nodiscard]] bool everything_is_here() const {
    bool is_here = room_.all_have_written();
    for (Index round = 1; round < end_of_rounds(); ++round) {
      is_here = is_here && (incoming(round).bytes == 0 || room_.has_landed(carrier(round), round));
    }
    return is_here;
  }

  // Waits inside of MPI where there are messages: it moves them faster so than when it is polled.
  void do_wait() override {
    while (under_way_ > 0 || next_round_ < end_of_rounds()) {
      messages_.wait();
      if (under_way_ > 0) room_.signal_landed(under_way_);
      under_way_ = 0;
      if (next_round_ == end_of_rounds()) break;
      wait_until(node_, [&] { return may_begin(next_round_); });
      under_way_ = begin_rounds();
    }
    wait_until(node_, [&] { return everything_is_here(); });
    for (Index round = 1; round < end_of_rounds(); ++round) unpack(round);
  }

  void unpack(Index round) {
    const NodeId node = plan::node_from(topology(), own_node(), round);
    const plan::NodeBundles::Bundle& bundle = bundles_.incoming(node);
    if (bundle.bytes == 0) return;
    note_step(end_of_rounds(), mates()[static_cast<std::size_t>(bundle.carrier)], rank(),
              contents_.rows(node).rows_in * row_bytes());
    const ArrivedBundle arrived(bundle.layout, bundle.rows, begin_of(bundle));
    const std::vector<RankId>& senders = topology().ranks(node);
    parallel_for(std::ssize(senders), [&](Index sender) {
      const std::span<const Range> runs = shape().received().runs(senders[static_cast<std::size_t>(sender)]);
      arrived.copy_rows(sender, own(), runs, data());
    });
  }

  std::byte* data() override { return room_.rows(own()); }

  const Communicator& node_;
  NodeRoom room_;  // each mate's rows, then the bundles that it carries
  RowType unit_;
  BundleContents contents_;
  plan::NodeBundles bundles_;
  std::vector<Index> numbers_;
  std::vector<Index> table_;
  Index next_round_ = 1;  // of those that this rank carries
  Index under_way_ = 0;   // the last round that has begun and not ended, or 0
  Messages messages_;     // the last member: they end before their buffers
};

class HierarchicalExchange : public Exchange {
 public:
  HierarchicalExchange(const Communicator& communicator, const plan::Topology& topology)
      : Exchange(communicator, topology), node_(communicator.split(topology.node(communicator.rank()).value())) {}
  std::unique_ptr<Inbox> make_inbox(const std::string& /*name*/) const override {
    return std::make_unique<HierarchicalInbox>(*this, node_, next_tag());
  }
  bool merges_copies() const override { return true; }

 private:
  Communicator node_;
};

}  // namespace

std::unique_ptr<Exchange> make_hierarchical_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<HierarchicalExchange>(communicator, topology);
}

}  // namespace conclave::comm
