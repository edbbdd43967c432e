// SPDX-License-Identifier: BSD-3-Clause
// Where a step's time goes: scopes that add their own time, less that of the scopes inside them, to a phase.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/core/options.hpp"
#include "runtime/core/whereabouts.hpp"

#include <array>
#include <span>

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

enum class Direction { forward, backward };

inline constexpr std::array<EnumName<Direction>, 2> enum_names(Direction) {
  return {{{Direction::forward, "forward"}, {Direction::backward, "backward"}}};
}

/// Seconds a rank's main thread spent in a layer, both ways: computing for its own tokens, computing its experts on the
/// rows of all ranks, and in Phase::wait.
struct LayerTimes {
  double own_s = 0.0;
  double experts_s = 0.0;
  double wait_s = 0.0;
};

/// What was on its way between ranks and has arrived, told when it was waited for.
struct Transfer {
  std::string_view of{};           // "rows", "gradients": outlives all who are told
  Phase phase{};                   // that it belongs to
  Clock::time_point started_at{};  // when this rank sent its part
  double hidden_s = 0.0;           // from then to when it was seen to have arrived, or to when it was waited for
  Index wave = -1;
  Index rows = 0;   // that came here
  Index bytes = 0;  // so
};

class SpanRecorder;

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
  void add(const Transfer& transfer) {
    hidden_s_ += transfer.hidden_s;
    if (recorder_ != nullptr) record(transfer);
  }
  /// [layers entered so far] by their numbers.
  [[nodiscard]] std::span<const LayerTimes> layers() const { return layers_; }
  void clear() {
    seconds_.fill(0.0);
    std::ranges::fill(layers_, LayerTimes{});
    hidden_s_ = 0.0;
  }

  /// From now on the scopes' phases and the layers are noted there too; null: nowhere.
  void note_in(Whereabouts* whereabouts) { whereabouts_ = whereabouts; }
  /// From now on all that is timed is recorded there too, as spans; null: nowhere. No scope is open.
  void record_in(SpanRecorder* recorder) { recorder_ = recorder; }
  [[nodiscard]] SpanRecorder* recorder() const { return recorder_; }
  /// What follows belongs to a layer, or to none. No scope is open.
  void enter_layer(std::optional<Index> layer, std::optional<Direction> direction = {});

 private:
  friend class PhaseScope;
  void add(Phase phase, std::string_view of, Clock::time_point begin, Clock::time_point end) {
    const double seconds = std::chrono::duration<double>(end - begin).count();
    seconds_[static_cast<std::size_t>(phase)] += seconds;
    if (layer_) {
      LayerTimes& layer = layers_[static_cast<std::size_t>(*layer_)];
      (phase == Phase::wait ? layer.wait_s : phase == Phase::experts ? layer.experts_s : layer.own_s) += seconds;
    }
    if (recorder_ != nullptr) record(phase, of, begin, end);
  }
  void record(Phase phase, std::string_view of, Clock::time_point begin, Clock::time_point end);
  void record(const Transfer& transfer);

  std::array<double, num_phases> seconds_{};
  std::vector<LayerTimes> layers_;
  std::optional<Index> layer_;
  double hidden_s_ = 0.0;
  class PhaseScope* innermost_ = nullptr;
  Whereabouts* whereabouts_ = nullptr;
  SpanRecorder* recorder_ = nullptr;
};

/// Adds the time from its construction to its destruction to a phase. A scope opened inside it takes its own share out.
/// `of`: what is waited for, for traces; outlives the recorder's spans.
class PhaseScope {
 public:
  PhaseScope(PhaseTimes& times, Phase phase, std::string_view of = {})
      : times_(times), phase_(phase), of_(of), outer_(times.innermost_), since_(Clock::now()) {
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
  void pause(Clock::time_point now) { times_.add(phase_, of_, since_, now); }

  PhaseTimes& times_;
  Phase phase_;
  std::string_view of_;
  PhaseScope* outer_;
  Clock::time_point since_;
};

}  // namespace conclave
