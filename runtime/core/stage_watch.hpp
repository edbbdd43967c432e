// SPDX-License-Identifier: BSD-3-Clause
// Ends a program whose ranks do not come together where nothing else watches them: at its start and at its end.
#pragma once

#include <atomic>
#include <stop_token>
#include <string>
#include <thread>

namespace conclave {

/// While it lives, a thread watches the stages that this process passes. MPI_Init and MPI_Finalize wait for all ranks,
/// also for one that never comes: after a stage's limit the thread says on stderr who is where, and ends the process,
/// upon which its launcher ends the others. Time in which the thread itself did not run is not counted.
class StageWatch {
 public:
  struct Settings {
    double limit_s = 0.0;  // of a stage [s]; 0: nothing is watched
    std::string who;       // which rank: "conclave: rank 3 of 8 of job 17"
    int exit_code = 1;
  };
  /// `stage`: what begins now, for as long as the object lives; text in front of "for 60 s".
  StageWatch(Settings settings, const char* stage);
  StageWatch(const StageWatch&) = delete;
  StageWatch& operator=(const StageWatch&) = delete;

  /// Another stage has begun; its time begins anew.
  void enter(const char* stage) { stage_.store(stage); }

 private:
  void watch(const std::stop_token& stop) const;

  const Settings settings_;
  std::atomic<const char*> stage_;
  std::jthread thread_;  // last: it looks at the others until it has ended
};

}  // namespace conclave
