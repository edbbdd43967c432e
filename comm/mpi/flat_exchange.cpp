// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/flat_exchange.hpp"

namespace conclave::comm {
namespace {

// What MPI_Ialltoallv reads until it has ended.
struct Rows {
  std::vector<int> send_counts;            // [num_ranks]
  std::vector<int> send_displacements;     // [num_ranks]
  std::vector<int> receive_counts;         // [num_ranks]
  std::vector<int> receive_displacements;  // [num_ranks]
  RowType type;

  Rows(const plan::ExchangeShape& shape, Index row_bytes) : type(row_bytes, MPI_BYTE) {
    for (RankId peer; peer < RankId{shape.num_ranks()}; ++peer) {
      send_counts.push_back(checked_int(shape.rows_to(peer), "rows to be sent"));
      send_displacements.push_back(checked_int(shape.send_offset(peer), "rows to be sent"));
      receive_counts.push_back(checked_int(shape.rows_from(peer), "rows to be received"));
      receive_displacements.push_back(checked_int(shape.receive_offset(peer), "rows to be received"));
    }
  }
};

class FlatExchange : public Exchange {
 public:
  explicit FlatExchange(const Communicator& communicator) : communicator_(communicator) {}

  Request start(const plan::ExchangeShape& shape, const void* send, void* receive, Index row_bytes) const override {
    invariant(shape.num_ranks() == communicator_.size(), "an exchange between {} ranks on {} ranks", shape.num_ranks(),
              communicator_.size());
    const auto rows = std::make_shared<const Rows>(shape, row_bytes);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ialltoallv(send, rows->send_counts.data(), rows->send_displacements.data(), rows->type.handle(),
                             receive, rows->receive_counts.data(), rows->receive_displacements.data(),
                             rows->type.handle(), communicator_.handle(), &request),
              "MPI_Ialltoallv");
    return Request(request, rows);
  }

 private:
  const Communicator& communicator_;
};

}  // namespace

std::unique_ptr<Exchange> make_flat_exchange(const Communicator& communicator) {
  return std::make_unique<FlatExchange>(communicator);
}

}  // namespace conclave::comm
