// SPDX-License-Identifier: BSD-3-Clause
// Where a step's time goes: scopes that add their own time, less that of the scopes inside them, to a phase.
#pragma once

#include "runtime/core/options.hpp"
#include "runtime/core/whereabouts.hpp"

#include <array>
#include <chrono>

namespace conclave {

/// The parts of a training step. wait: for what other ranks send, while nothing computes (exposed communication).
enum class Phase : int {
  data,
  embedding,
  attention,
  gate,
  dispatch,
  experts,
  combine,
  wait,
  dense,
  head,
  reduce,
  optimizer,
  other
};

inline constexpr std::size_t num_phases = 13;

inline constexpr std::array<EnumName<Phase>, num_phases> enum_names(Phase) {
  return {{{Phase::data, "data"},
           {Phase::embedding, "embedding"},
           {Phase::attention, "attention"},
           {Phase::gate, "gate"},
           {Phase::dispatch, "dispatch"},
           {Phase::experts, "experts"},
           {Phase::combine, "combine"},
           {Phase::wait, "wait"},
           {Phase::dense, "dense"},
           {Phase::head, "head"},
           {Phase::reduce, "reduce"},
           {Phase::optimizer, "optimizer"},
           {Phase::other, "other"}}};
}

/// Seconds a rank's main thread spent in each phase.
class PhaseTimes {
 public:
  [[nodiscard]] double seconds(Phase phase) const { return seconds_[static_cast<std::size_t>(phase)]; }
  [[nodiscard]] const std::array<double, num_phases>& all() const { return seconds_; }
  /// Seconds for which something was on its way between ranks, from its sending to when it was seen to have arrived: of
  /// each exchange by itself, so that two at a time count twice. Phase::wait is the part that was exposed, the rest was
  /// hidden behind other work.
  [[nodiscard]] double communication_s() const { return seconds(Phase::wait) + hidden_s_; }
  /// Adds what was on its way while this rank did something else.
  void add_hidden(double seconds) { hidden_s_ += seconds; }
  void clear() {
    seconds_.fill(0.0);
    hidden_s_ = 0.0;
  }

  /// From now on the scopes' phases and the layers are noted there too; null: nowhere.
  void note_in(Whereabouts* whereabouts) { whereabouts_ = whereabouts; }
  /// What follows belongs to a layer, or to none.
  void enter_layer(std::optional<Index> layer) {
    if (whereabouts_ != nullptr) whereabouts_->enter_layer(layer);
  }

 private:
  friend class PhaseScope;
  std::array<double, num_phases> seconds_{};
  double hidden_s_ = 0.0;
  class PhaseScope* innermost_ = nullptr;
  Whereabouts* whereabouts_ = nullptr;
};

/// Adds the time from its construction to its destruction to a phase. A scope opened inside it takes its own share out.
class PhaseScope {
 public:
  PhaseScope(PhaseTimes& times, Phase phase)
      : times_(times), phase_(phase), outer_(times.innermost_), since_(Clock::now()) {
    if (outer_ != nullptr) outer_->pause(since_);
    times_.innermost_ = this;
    if (times_.whereabouts_ != nullptr) times_.whereabouts_->enter(phase_);
  }
  ~PhaseScope() {
    const auto now = Clock::now();
    pause(now);
    times_.innermost_ = outer_;
    if (outer_ != nullptr) outer_->since_ = now;
    if (times_.whereabouts_ == nullptr) return;
    if (outer_ != nullptr) {
      times_.whereabouts_->enter(outer_->phase_);
    } else {
      times_.whereabouts_->leave_phase();
    }
  }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  void pause(Clock::time_point now) {
    times_.seconds_[static_cast<std::size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
  }

  PhaseTimes& times_;
  Phase phase_;
  PhaseScope* outer_;
  Clock::time_point since_;
};

}  // namespace conclave
