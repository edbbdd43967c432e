// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "comm/mpi/communicator.hpp"

#include <cstddef>

namespace conclave::comm {

/// Memory that all ranks of a node read and write: one segment a rank.
class SharedWindow {
 public:
  static constexpr Index line_bytes = 64;  // of a cache

  SharedWindow() = default;
  /// A segment of `bytes` for this rank, aligned to cache lines; others may ask for other sizes. MpiError if the node's
  /// shared memory is too small. Collective over `node`, the ranks of one node.
  SharedWindow(const Communicator& node, Index bytes);
  SharedWindow(SharedWindow&& other) noexcept;
  SharedWindow& operator=(SharedWindow&& other) noexcept;
  /// Collective. While an exception is unwinding this rank may be alone: then the memory is left to the end of the job.
  ~SharedWindow();

  /// Where a rank's segment begins; `mate` is the rank's number in the node's communicator.
  [[nodiscard]] std::byte* segment(Index mate) const { return segments_[static_cast<std::size_t>(mate)]; }

 private:
  void release() noexcept;
  MPI_Win window_ = MPI_WIN_NULL;
  int uncaught_at_start_ = 0;
  std::vector<std::byte*> segments_;  // [ranks of the node]
};

}  // namespace conclave::comm
