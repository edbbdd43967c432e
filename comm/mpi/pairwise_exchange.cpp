// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/pairwise_exchange.hpp"

#include "comm/mpi/message_inbox.hpp"
#include "comm/mpi/messages.hpp"
#include "comm/plan/pairwise.hpp"

namespace conclave::comm {
namespace {

class PairwiseInbox final : public MessageInbox {
 public:
  PairwiseInbox(const Exchange& exchange, int tag) : MessageInbox(exchange), messages_(communicator(), tag) {}
  ~PairwiseInbox() override { end_forgotten(); }

 private:
  void do_open() override { open_by_messages(); }

  void do_start() override {
    note_step(0, rank(), rank(), shape().rows_to(rank()) * row_bytes());
    next_round_ = 1;
    start_phase();
  }

  // The rounds that are under way at once. Both sides leave out a message of no rows.
  void start_phase() {
    const Index phase = (next_round_ - 1) / plan::pairwise_rounds_at_once;
    const Range rounds = {next_round_, std::min(shape().num_ranks(), next_round_ + plan::pairwise_rounds_at_once)};
    for (Index round = rounds.begin; round < rounds.end; ++round) {
      const RankId to = plan::pairwise_round(shape().num_ranks(), rank(), round).to;
      const Range sent = staging().sent_to(to).front();
      if (sent.empty()) continue;
      messages_.send(to, outgoing_row(sent.begin), sent.size(), row_type());
      note_step(phase, rank(), to, sent.size() * row_bytes());
    }
    for (Index round = rounds.begin; round < rounds.end; ++round) {
      const RankId from = plan::pairwise_round(shape().num_ranks(), rank(), round).from;
      const Range received = staging().received_from(from).front();
      if (received.empty()) continue;
      messages_.receive(from, held_row(received.begin), received.size(), row_type());
    }
    next_round_ = rounds.end;
  }

  bool do_test() override {
    while (messages_.test()) {
      if (next_round_ >= shape().num_ranks()) return true;
      start_phase();
    }
    return false;
  }

  void do_wait() override {
    messages_.wait();
    while (next_round_ < shape().num_ranks()) {
      start_phase();
      messages_.wait();
    }
    staging().put_in_place(held_row(0), row_bytes());
  }

  Index next_round_ = 1;
  Messages messages_;  // the last member: they end before their buffers
};

class PairwiseExchange : public Exchange {
 public:
  using Exchange::Exchange;
  std::unique_ptr<Inbox> make_inbox(const std::string& /*name*/) const override {
    return std::make_unique<PairwiseInbox>(*this, next_tag());
  }
};

}  // namespace

std::unique_ptr<Exchange> make_pairwise_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<PairwiseExchange>(communicator, topology);
}

}  // namespace conclave::comm
