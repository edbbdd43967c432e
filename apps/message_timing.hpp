// SPDX-License-Identifier: BSD-3-Clause
// Timings of messages between two ranks and of memory that the ranks of a node share, and what they say messages and
// copies cost.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/plan/schedule.hpp"
#include "runtime/sim/line_fit.hpp"

#include <optional>

namespace conclave::apps {

/// How much is measured.
struct TransferBudget {
  double largest_bytes = 0.0;
  Index repeats = 1;     // timings of each size, of which the median counts
  double seconds = 0.0;  // of a timing
};

/// What was fitted, and how well.
struct MessageFit {
  sim::MessageCosts costs;
  std::vector<double> residuals;  // of the two lines, as sim::KneeFit's
};

/// Messages between rank 0 and another rank of its node (Level::node) or of another node (Level::network), one each way
/// and many of them at once, of rows that the nearest cache has no more, and while both compute. Nothing on ranks that
/// take no part, and where there is no such rank. Collective.
[[nodiscard]] std::optional<MessageFit> time_messages(const comm::Communicator& world, plan::Level level,
                                                      const TransferBudget& budget);

struct SharedMemoryFit {
  sim::SharedMemoryCosts costs;       // while all ranks of the node write
  sim::SharedMemoryCosts one_writes;  // while one does
  std::vector<double> residuals;      // of all that write
};

/// Ranks of rank 0's node write into one another's memory. Nothing on ranks of other nodes, and where rank 0 is alone
/// on its own. Collective.
[[nodiscard]] std::optional<SharedMemoryFit> time_shared_memory(const comm::Communicator& world,
                                                                const TransferBudget& budget);

}  // namespace conclave::apps
