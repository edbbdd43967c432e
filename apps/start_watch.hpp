// SPDX-License-Identifier: BSD-3-Clause
// Ends a program whose ranks do not come together at its start.
#pragma once

#include <atomic>
#include <span>
#include <stop_token>
#include <string>
#include <thread>

namespace conclave::apps {

/// While it lives, a thread watches the start of this process. MPI_Init waits for all ranks, also for one that never
/// comes: after `limit_s` [s] the thread says on stderr which rank of which job is where, and ends the process with
/// `hung`, upon which its launcher ends the others. Time in which the thread itself did not run is not counted.
class StartWatch {
 public:
  /// limit_s = 0: nothing is watched. `stage`: what begins now, for as long as the object lives.
  StartWatch(double limit_s, const char* stage);
  StartWatch(const StartWatch&) = delete;
  StartWatch& operator=(const StartWatch&) = delete;

  /// The start has come to another stage; its time begins anew.
  void enter(const char* stage) { stage_.store(stage); }

 private:
  void watch(const std::stop_token& stop, double limit_s);

  std::atomic<const char*> stage_;
  std::jthread thread_;  // last: it looks at stage_ until it has ended
};

/// How long `words` (the command line after the program's name) let a start take [s]: hang_timeout, on the line or in
/// the configuration file, of a command that has it, else its default. What is wrong with the words is left to others.
[[nodiscard]] double start_limit_s(std::span<const std::string> words);

}  // namespace conclave::apps
