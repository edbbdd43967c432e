// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/shared_exchange.hpp"

#include "comm/mpi/messages.hpp"
#include "comm/mpi/node_room.hpp"
#include "comm/mpi/node_table.hpp"
#include "comm/mpi/staging.hpp"

#include <array>

namespace conclave::comm {
namespace {

class SharedInbox final : public Inbox {
 public:
  SharedInbox(const Exchange& exchange, const Communicator& node, int tag)
      : Inbox(exchange), node_(node), room_(node), messages_(communicator(), tag) {}
  ~SharedInbox() override { end_forgotten(); }

 private:
  [[nodiscard]] const std::vector<RankId>& mates() const { return topology().ranks(topology().node(rank())); }
  [[nodiscard]] bool is_mate(RankId peer) const { return topology().node(peer) == topology().node(rank()); }
  [[nodiscard]] Index own() const { return node_.rank().value(); }

  void do_open() override {
    staging_.lay_out(shape(), [&](RankId peer) { return !is_mate(peer); });
    outgoing_.resize(staging_.rows_to_send(), row_bytes());
    const std::array<Index, 1> bytes{staging_.rows_to_hold() * row_bytes()};
    write_node_table(bytes, shape().received(), mates(), table_);
    room_.publish(table_);
    bytes_needed_.clear();
    for (Index mate = 0; mate < node_.size(); ++mate) bytes_needed_.push_back(room_.table(mate).front());
    room_.make_room(bytes_needed_);
    for (RankId peer; peer < RankId{shape().num_ranks()}; ++peer) {
      if (!is_mate(peer)) add_slots(peer, staging_.sent_to(peer), outgoing_.data());
    }
    for (Index mate = 0; mate < node_.size(); ++mate) {
      const RankId peer = mates()[static_cast<std::size_t>(mate)];
      add_slots(peer, runs_in_node_table(room_.table(mate), bytes.size(), node_.size(), own()), room_.rows(mate));
    }
  }

  void do_start() override {
    room_.signal_written();
    for (Index i = 0; i < shape().num_ranks(); ++i) {  // beginning with itself, so that not all send to the same first
      const RankId peer{(rank().value() + i) % shape().num_ranks()};
      note_step(0, rank(), peer, shape().rows_to(peer) * row_bytes());
      const Range sent = staging_.sent_to(peer).front();
      if (!sent.empty()) messages_.send(peer, outgoing_.data() + sent.begin * row_bytes(), sent.size(), row_type());
    }
    for (RankId peer; peer < RankId{shape().num_ranks()}; ++peer) {
      const Range received = staging_.received_from(peer).front();
      if (received.empty()) continue;
      messages_.receive(peer, data() + received.begin * row_bytes(), received.size(), row_type());
    }
  }

  bool do_test() override { return messages_.test() && room_.all_have_written(); }

  void do_wait() override {
    messages_.wait();
    wait_until(node_, [&] { return room_.all_have_written(); });
    staging_.put_in_place(data(), row_bytes());
  }

  std::byte* data() override { return room_.rows(own()); }

  const Communicator& node_;
  NodeRoom room_;  // [rows to hold, row_bytes] at each mate
  Staging staging_;
  std::vector<Index> table_;         // bytes of rows to hold, then where those from mates stand
  std::vector<Index> bytes_needed_;  // [ranks of the node]
  Matrix<std::byte> outgoing_;       // [rows for other nodes, row_bytes] by peer
  Messages messages_;                // the last member: they end before their buffers
};

class SharedExchange : public Exchange {
 public:
  SharedExchange(const Communicator& communicator, const plan::Topology& topology)
      : Exchange(communicator, topology), node_(communicator.split(topology.node(communicator.rank()).value())) {}
  std::unique_ptr<Inbox> make_inbox(const std::string& /*name*/) const override {
    return std::make_unique<SharedInbox>(*this, node_, next_tag());
  }

 private:
  Communicator node_;
};

}  // namespace

std::unique_ptr<Exchange> make_shared_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<SharedExchange>(communicator, topology);
}

}  // namespace conclave::comm
