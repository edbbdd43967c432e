// SPDX-License-Identifier: BSD-3-Clause
// Steps of a run as a trace: `train --trace`.
#pragma once

#include "apps/saver.hpp"
#include "comm/mpi/clock_offset.hpp"
#include "runtime/core/span_recorder.hpp"
#include "runtime/train/trace_options.hpp"
#include "runtime/train/trainer.hpp"

namespace conclave::apps {

/// Outside of its steps nothing is recorded, and nothing is said between ranks. The trace is written when the last of
/// them is done, or when the run ends before; what cannot be written is told, and the run goes on.
class RunTrace {
 public:
  using Tell = std::function<void(const std::string&)>;
  /// Valid options, of a run that goes on after `done` steps; `tell` shows a line to the user. InputError on every rank
  /// where the file's folder is not there. Collective.
  RunTrace(const train::TraceOptions& options, const comm::Communicator& world, Index done, Tell tell);

  /// Before each step, whichever trainer does it. Collective.
  void before_step(train::Trainer& trainer);
  /// After each step and what is done until the next one. at_end: there is none. Collective.
  void after_step(train::Trainer& trainer, const Saver& saver, bool at_end);
  /// What was recorded is of steps that are done again.
  void go_back() { is_recording_ = false; }

  /// Does what is no part of a step, which gets a span of that name.
  template <class Work>
  void around(std::string_view name, Work&& work) {
    const Clock::time_point begin = Clock::now();
    std::forward<Work>(work)();
    if (is_recording_) recorder_.add(SpanKind::compute, name, begin, Clock::now());
  }
  /// The same of what a saver does after a step, if that is anything: if it `saves`, or a checkpoint is on its way.
  void around_save(const Saver& saver, bool saves, const std::function<void()>& work);

 private:
  void begin();
  void write();
  [[nodiscard]] std::string events() const;

  std::string path_;
  std::optional<train::StepRange> steps_;
  std::optional<comm::Communicator> ranks_;  // of the trace's own messages
  Tell tell_;
  bool is_recording_ = false;
  bool is_written_ = false;  // or has failed
  Index first_ = 0, last_ = 0;
  comm::ClockOffset before_, after_;
  double since_root_s_ = 0.0;  // this rank's beginning by its own clock, less rank 0's by its own
  SpanRecorder recorder_;
};

}  // namespace conclave::apps
