// SPDX-License-Identifier: BSD-3-Clause
// Which thread did how much of a parallel_for, for traces.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/ids.hpp"

#include <span>

namespace conclave {

/// One thread's calls of one parallel_for, from the first to the end of the last.
struct ThreadShare {
  Index thread = 0;  // 0: the calling one
  Index calls = 0;   // may be none
  Clock::time_point begin{};
  Clock::time_point end{};
};

class ThreadListener {
 public:
  virtual ~ThreadListener() = default;
  /// Where a parallel_for on so many threads is to write its shares: as many. Called by the thread that calls
  /// parallel_for, and so is `ended`, after all threads have written.
  virtual std::span<ThreadShare> begun(Index threads) = 0;
  virtual void ended() = 0;
};

/// From now on every parallel_for that takes several threads tells `listener`, until it is null. No parallel_for is
/// under way; the listener outlives its turn. Without one a parallel_for costs nothing more.
void tell_threads_to(ThreadListener* listener);

}  // namespace conclave
