// SPDX-License-Identifier: BSD-3-Clause
// What a rank did and when, kept as spans: the same as simulated steps have, by the rank's own clock.
#pragma once

#include "runtime/core/span.hpp"

#include <vector>

namespace conclave {

/// Written by the main thread of a rank. Its first row is what that thread did: spans that hold others stand before
/// them, and no two overlap otherwise. The others are what was on its way meanwhile: as many rows as it takes for no
/// two spans of one to overlap.
class SpanRecorder {
 public:
  SpanRecorder() { begin(); }
  /// Forgets everything. Times of spans count from now.
  void begin();
  [[nodiscard]] Clock::time_point began_at() const { return began_at_; }

  // --- What holds other spans: each ends when the next of its kind begins, or what it lies in ends ---
  void begin_step(Index step);
  void end_step();
  void begin_pass(Index pass);
  void end_pass();
  void enter_layer(std::optional<Index> layer, std::optional<Direction> direction);
  /// The experts' spans that follow are of these experts, which get so many rows from all ranks.
  void enter_wave(Index wave, std::vector<Index> experts, Index rows);
  void leave_wave();

  // --- What a rank does, and what is on its way ---
  /// Phase::wait becomes a span that waits `of` something.
  void add(Phase phase, std::string_view of, Clock::time_point begin, Clock::time_point end);
  /// What no phase has a time of: "report", "checkpoint".
  void add(SpanKind kind, std::string_view of, Clock::time_point begin, Clock::time_point end);
  /// Right after it was waited for.
  void add(const Transfer& transfer);
  /// The same of what was not waited for.
  void add_transfer(std::string_view of, Clock::time_point begin, Clock::time_point end);

  [[nodiscard]] const std::vector<Span>& main_thread() const { return main_thread_; }
  /// [rows][spans] in the order of their beginnings.
  [[nodiscard]] std::vector<std::vector<Span>> transfers() const;

 private:
  [[nodiscard]] double time_of(Clock::time_point point) const {
    return std::chrono::duration<double>(point - began_at_).count();
  }
  [[nodiscard]] Span begun(SpanKind kind, Clock::time_point begin, Clock::time_point end) const;
  [[nodiscard]] std::size_t open(SpanKind kind);
  void close(std::optional<std::size_t>& span);

  Clock::time_point began_at_{};
  Index step_ = -1;
  Index pass_ = -1;
  Index layer_ = -1;
  std::optional<Direction> direction_;
  Index wave_ = -1;
  std::vector<Index> experts_;
  Index rows_ = 0;
  std::optional<std::size_t> open_step_, open_pass_, open_layer_;
  std::vector<Span> main_thread_;
  std::vector<Span> transfers_;
};

}  // namespace conclave
