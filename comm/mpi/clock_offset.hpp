// SPDX-License-Identifier: BSD-3-Clause
// How far the ranks' clocks are apart, so that what they noted can be laid side by side.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/clock.hpp"

namespace conclave::comm {

/// A clock's distance from rank 0's, as it was found at one moment.
struct ClockOffset {
  Clock::time_point at{};      // of this rank's clock
  double seconds = 0.0;        // to be added to this rank's clock for rank 0's
  double uncertainty_s = 0.0;  // half of the shortest way there and back: it is off by no more
};

/// Rank 0 tells every rank its time `rounds` (at least 1) times, one rank after another; the answer that took the
/// shortest way there and back counts. A few microseconds a round and rank. Collective.
[[nodiscard]] ClockOffset measure_clock_offset(const Communicator& communicator, Index rounds = 32);

/// By the straight line through two measurements: what is to be added to this rank's clock at a moment.
[[nodiscard]] double offset_at(Clock::time_point moment, const ClockOffset& before, const ClockOffset& after);

}  // namespace conclave::comm
