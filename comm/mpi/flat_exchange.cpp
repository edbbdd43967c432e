// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/flat_exchange.hpp"

#include "comm/mpi/request.hpp"
#include "comm/mpi/staging.hpp"

#include <optional>

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

class FlatInbox final : public Inbox {
 public:
  using Inbox::Inbox;

 private:
  void do_open() override {
    staging_.lay_out(shape(), [&](RankId peer) { return peer != rank(); });
    send_.assign(staging_.sent(), "rows to be sent");
    receive_.assign(staging_.received(), "rows to be received");
    if (!type_ || type_->count() != row_bytes()) type_.emplace(row_bytes(), MPI_BYTE);
    outgoing_.resize(staging_.rows_to_send(), row_bytes());
    rows_.resize(staging_.rows_to_hold(), row_bytes());
    for (RankId peer; peer < RankId{shape().num_ranks()}; ++peer) {
      if (peer == rank()) {
        add_slots(peer, shape().received().runs(peer), rows_.data());
      } else {
        add_slots(peer, staging_.sent_to(peer), outgoing_.data());
      }
    }
  }

  void do_start() override {
    for (RankId peer; peer < RankId{shape().num_ranks()}; ++peer) {
      note_step(0, rank(), peer, shape().rows_to(peer) * row_bytes());
    }
    if (shape().num_ranks() == 1) return;
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ialltoallv(outgoing_.data(), send_.counts.data(), send_.displacements.data(), type_->handle(),
                             rows_.data(), receive_.counts.data(), receive_.displacements.data(), type_->handle(),
                             communicator().handle(), &request),
              "MPI_Ialltoallv");
    request_ = Request(request);
  }

  bool do_test() override { return request_.test(); }

  void do_wait() override {
    request_.wait();
    staging_.put_in_place(rows_.data(), row_bytes());
  }

  std::byte* data() override { return rows_.data(); }

  Staging staging_;
  Parts send_;
  Parts receive_;
  std::optional<RowType> type_;
  Matrix<std::byte> outgoing_;  // [rows for other ranks, row_bytes] by peer
  Matrix<std::byte> rows_;      // [rows to hold, row_bytes]
  Request request_;             // the last member: it ends before its buffers
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
