// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/bruck_exchange.hpp"

#include "comm/mpi/message_inbox.hpp"
#include "comm/mpi/messages.hpp"
#include "comm/plan/bruck.hpp"

#include <cstring>

namespace conclave::comm {
namespace {

class BruckInbox final : public MessageInbox {
 public:
  BruckInbox(const Exchange& exchange, int tag)
      : MessageInbox(exchange),
        plan_(communicator().size()),
        tag_(tag),
        unit_(plan::bruck_unit_bytes, MPI_BYTE),
        sent_(static_cast<std::size_t>(plan_.num_rounds())),
        received_(static_cast<std::size_t>(plan_.num_rounds())),
        messages_(communicator(), tag) {}
  ~BruckInbox() override { end_forgotten(); }

 private:
  // The rows that this rank has at a position at the moment, wherever they came from.
  struct Block {
    const std::byte* data = nullptr;
    Index rows = 0;
  };

  void do_open() override { open_by_messages(); }

  void do_start() override {
    note_step(0, rank(), rank(), shape().rows_to(rank()) * row_bytes());
    blocks_.assign(static_cast<std::size_t>(shape().num_ranks()), {});
    for (Index position = 1; position < shape().num_ranks(); ++position) {
      const Range sent = staging().sent_to(plan_.block(rank(), 0, position).destination).front();
      blocks_[static_cast<std::size_t>(position)] = {outgoing_row(sent.begin), sent.size()};
    }
    round_ = 0;
    start_round();
  }

  // message: the number of rows of each block, then the rows of each
  void start_round() {
    is_receiving_ = false;
    if (round_ == plan_.num_rounds()) return;
    Index rows = 0;
    for (const Index position : plan_.positions(round_)) rows += blocks_[static_cast<std::size_t>(position)].rows;
    const Index bytes = plan_.message_bytes(round_, rows * row_bytes());
    Matrix<std::byte>& message = sent_[static_cast<std::size_t>(round_)];
    message.resize(1, bytes);
    std::byte* count = message.data();
    std::byte* to = count + std::ssize(plan_.positions(round_)) * static_cast<Index>(sizeof(Index));
    for (const Index position : plan_.positions(round_)) {
      const Block& block = blocks_[static_cast<std::size_t>(position)];
      std::memcpy(count, &block.rows, sizeof(Index));
      count += sizeof(Index);
      const Index block_bytes = block.rows * row_bytes();
      if (block_bytes > 0) std::memcpy(to, block.data, static_cast<std::size_t>(block_bytes));
      to += block_bytes;
    }
    std::fill(to, message.data() + bytes, std::byte{0});
    const RankId peer = plan_.to(rank(), round_);
    messages_.send(peer, message.data(), bytes / plan::bruck_unit_bytes, unit_);
    note_step(round_, rank(), peer, bytes);
  }

  // How long a message is is known when it comes.
  void receive(const MPI_Status& status) {
    int units = 0;
    check_mpi(MPI_Get_count(&status, unit_.handle(), &units), "MPI_Get_count");
    Matrix<std::byte>& message = received_[static_cast<std::size_t>(round_)];
    message.resize(1, units * plan::bruck_unit_bytes);
    messages_.receive(plan_.from(rank(), round_), message.data(), units, unit_);
    is_receiving_ = true;
  }

  [[nodiscard]] int peer_before() const { return static_cast<int>(plan_.from(rank(), round_).value()); }

  void take_blocks() {
    const std::byte* count = received_[static_cast<std::size_t>(round_)].data();
    const std::byte* data = count + std::ssize(plan_.positions(round_)) * static_cast<Index>(sizeof(Index));
    for (const Index position : plan_.positions(round_)) {
      Block& block = blocks_[static_cast<std::size_t>(position)];
      block.data = data;
      std::memcpy(&block.rows, count, sizeof(Index));
      count += sizeof(Index);
      data += block.rows * row_bytes();
    }
  }

  void end_round() {
    take_blocks();
    ++round_;
    start_round();
  }

  bool do_test() override {
    while (round_ < plan_.num_rounds()) {
      if (!is_receiving_) {
        int is_there = 0;
        MPI_Status status;
        check_mpi(MPI_Iprobe(peer_before(), tag_, communicator().handle(), &is_there, &status), "MPI_Iprobe");
        if (is_there != 0) receive(status);
      }
      if (!is_receiving_ || !messages_.test()) return false;
      end_round();
    }
    return true;
  }

  void do_wait() override {
    while (round_ < plan_.num_rounds()) {
      if (!is_receiving_) {
        MPI_Status status;
        check_mpi(MPI_Probe(peer_before(), tag_, communicator().handle(), &status), "MPI_Probe");
        receive(status);
      }
      messages_.wait();
      end_round();
    }
    for (Index position = 1; position < shape().num_ranks(); ++position) {
      const RankId source = plan_.block(rank(), plan_.num_rounds(), position).source;
      const Block& block = blocks_[static_cast<std::size_t>(position)];
      invariant(block.rows == shape().rows_from(source), "{} rows from rank {}, expected {}", block.rows,
                source.value(), shape().rows_from(source));
      const std::byte* from = block.data;
      for (const Range& run : shape().received().runs(source)) {
        const Index bytes = run.size() * row_bytes();
        if (bytes > 0) std::memcpy(held_row(run.begin), from, static_cast<std::size_t>(bytes));
        from += bytes;
      }
    }
  }

  plan::BruckPlan plan_;
  int tag_;
  RowType unit_;
  std::vector<Block> blocks_;                // [num_ranks] by position
  std::vector<Matrix<std::byte>> sent_;      // [rounds] messages
  std::vector<Matrix<std::byte>> received_;  // [rounds] messages
  Index round_ = 0;
  bool is_receiving_ = false;
  Messages messages_;  // the last member: they end before their buffers
};

class BruckExchange : public Exchange {
 public:
  using Exchange::Exchange;
  std::unique_ptr<Inbox> make_inbox(const std::string& /*name*/) const override {
    return std::make_unique<BruckInbox>(*this, next_tag());
  }
};

}  // namespace

std::unique_ptr<Exchange> make_bruck_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<BruckExchange>(communicator, topology);
}

}  // namespace conclave::comm
