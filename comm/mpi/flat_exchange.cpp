// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/flat_exchange.hpp"

#include "comm/mpi/message_inbox.hpp"
#include "comm/mpi/request.hpp"

namespace conclave::comm {
namespace {

// Messages as MPI wants them: in rows, each of them one datatype, so that more than 2^31 bytes can be counted.
struct Parts {
  std::vector<int> counts;         // [num_ranks]
  std::vector<int> displacements;  // [num_ranks]

  void assign(const std::vector<Range>& messages, std::string_view what) {
    counts.clear();
    displacements.clear();
    for (const Range& message : messages) {
      counts.push_back(checked_int(message.size(), what));
      displacements.push_back(checked_int(message.begin, what));
    }
  }
};

class FlatInbox final : public MessageInbox {
 public:
  explicit FlatInbox(const Exchange& exchange) : MessageInbox(exchange) {}

 private:
  void do_open() override {
    open_by_messages();
    send_.assign(staging().sent(), "rows to be sent");
    receive_.assign(staging().received(), "rows to be received");
  }

  void do_start() override {
    for (RankId peer; peer < RankId{shape().num_ranks()}; ++peer) {
      note_step(0, rank(), peer, shape().rows_to(peer) * row_bytes());
    }
    if (shape().num_ranks() == 1) return;
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ialltoallv(outgoing_row(0), send_.counts.data(), send_.displacements.data(), row_type().handle(),
                             held_row(0), receive_.counts.data(), receive_.displacements.data(), row_type().handle(),
                             communicator().handle(), &request),
              "MPI_Ialltoallv");
    request_ = Request(request);
  }

  bool do_test() override { return request_.test(); }

  void do_wait() override {
    request_.wait();
    staging().put_in_place(held_row(0), row_bytes());
  }

  Parts send_;
  Parts receive_;
  Request request_;  // the last member: it ends before its buffers
};

class FlatExchange : public Exchange {
 public:
  using Exchange::Exchange;
  std::unique_ptr<Inbox> make_inbox(const std::string& /*name*/) const override {
    return std::make_unique<FlatInbox>(*this);
  }
};

}  // namespace

std::unique_ptr<Exchange> make_flat_exchange(const Communicator& communicator, const plan::Topology& topology) {
  return std::make_unique<FlatExchange>(communicator, topology);
}

}  // namespace conclave::comm
