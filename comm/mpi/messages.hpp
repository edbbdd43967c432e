// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/communicator.hpp"

namespace conclave::comm {

/// Messages under way that end together. Their buffers must outlive them; the destructor waits, unless an exception is
/// unwinding: then a peer may never come, and they are given up.
/// Where a rank sends and receives, sends come first: a receive whose sender already waits lets its rows go, and behind
/// these the other side's leave to send would stand in line, so that the two directions take turns.
class Messages {
 public:
  /// `communicator` must outlive the object; `tag` tells its messages from others between the same ranks.
  Messages(const Communicator& communicator, int tag) : communicator_(communicator), tag_(tag) {}
  Messages(const Messages&) = delete;
  Messages& operator=(const Messages&) = delete;
  ~Messages();

  /// `count` rows, each of them one `type`, so that more than 2^31 bytes can be counted.
  void send(RankId to, const std::byte* rows, Index count, const RowType& type);
  void receive(RankId from, std::byte* rows, Index count, const RowType& type);
  /// Whether all have ended; makes progress.
  [[nodiscard]] bool test();
  void wait();

 private:
  const Communicator& communicator_;
  int tag_;
  std::vector<MPI_Request> requests_;
};

}  // namespace conclave::comm
