// SPDX-License-Identifier: BSD-3-Clause
// When a training run ends before its last step, because it was told to or its time is up, and what follows from that.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/train/metrics.hpp"
#include "runtime/train/options.hpp"

namespace conclave::apps {

/// What a run still does between the end of one step and that of the next.
struct WorkAhead {
  bool saves = false;      // before the next step
  bool evaluates = false;  // before the next step
};

/// How long a run takes, at most, from the end of a step until the next one is done and saved. All times in seconds.
class StopRule {
 public:
  /// Until a save was seen one counts as `checkpoint_bytes` at a modest rate, and an evaluation as long as
  /// `evaluation_steps` steps.
  StopRule(double margin_s, double checkpoint_bytes, double evaluation_steps);

  void saw_step(double seconds) { step_s_ = std::max(step_s_, seconds); }
  void saw_save(double seconds) { save_s_ = std::max(save_s_.value_or(0.0), seconds); }
  void saw_evaluation(double seconds) { evaluation_s_ = std::max(evaluation_s_.value_or(0.0), seconds); }

  /// With less time than this left, a run has to stop now: longest step + longest save + margin, and the work ahead.
  [[nodiscard]] double needed_s(const WorkAhead& ahead) const;

 private:
  double margin_s_;
  double first_save_s_;
  double evaluation_steps_;
  double step_s_ = 0.0;
  std::optional<double> save_s_;
  std::optional<double> evaluation_s_;
};

/// What asks a run to stop, from the command's start on. The root's clock decides for all ranks, and the root alone
/// talks to SLURM.
class Stopping {
 public:
  /// Keeps stop signals from now on, and finds out when the run must have ended. InputError on every rank if
  /// options.requeue is set outside of a SLURM job. Collective.
  Stopping(const train::TrainOptions& options, const comm::Communicator& world);

  /// What the root should tell about the time that is left; may be empty.
  [[nodiscard]] const std::string& notice() const { return notice_; }

  /// The root's SLURM job; empty outside of one, and on the other ranks.
  [[nodiscard]] const std::string& job() const { return job_; }

  /// What this rank asks of all at the end of a step (train::StepRequest): a signal's number, or that time is up.
  [[nodiscard]] Index request(double needed_s) const;
  /// "SIGUSR1 at rank 2". Of a request that is not 0.
  [[nodiscard]] std::string reason(const train::StepRequest& request) const;
  /// To be called by the root once all is saved: asks SLURM for another start if the options want that. What came of
  /// it, to be told; empty if they do not.
  [[nodiscard]] std::string ask_for_restart() const;

 private:
  void find_end(const std::optional<Duration>& limit);

  Clock::time_point start_ = Clock::now();
  bool requeue_;
  std::string job_;              // the SLURM job; the root's
  std::optional<double> end_s_;  // from start_ on [s]; the root's
  std::string notice_;
};

}  // namespace conclave::apps
