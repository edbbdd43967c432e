// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/message_inbox.hpp"

namespace conclave::comm {

void MessageInbox::open_by_messages() {
  staging_.lay_out(shape(), [&](RankId peer) { return peer != rank(); });
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

}  // namespace conclave::comm
