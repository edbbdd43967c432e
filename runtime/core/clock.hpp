// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>

namespace conclave {

/// The clock that durations are taken by: it is never set back.
using Clock = std::chrono::steady_clock;

[[nodiscard]] inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace conclave
