// SPDX-License-Identifier: BSD-3-Clause
// What a rank did and when, kept as spans: the same as simulated steps have, by the rank's own clock.
#pragma once

#include "runtime/core/span.hpp"
#include "runtime/core/thread_shares.hpp"

#include <vector>

namespace conclave {

/// Written by the main thread of a rank. Its first row is what that thread did: spans that hold others stand before
/// them, and no two overlap otherwise. Then there is a row for each thread, if threads share out work: a span for its
/// calls of one parallel_for, in a step. The others are what was on its way meanwhile: as many rows as it takes for no
/// two spans of one to overlap.
class SpanRecorder final : private ThreadListener {
 public:
  /// most_thread_spans: that are kept of threads, all together; those that come later are counted in left_out.
  explicit SpanRecorder(Index most_thread_spans = Index{1} << 18) : most_thread_spans_(most_thread_spans) { begin(); }
  ~SpanRecorder() override;
  SpanRecorder(const SpanRecorder&) = delete;
  SpanRecorder& operator=(const SpanRecorder&) = delete;
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

  [[nodiscard]] std::vector<Span> main_thread() const;
  /// [threads][spans] in the order of their beginnings; none where all was done by the main thread, which is thread 0.
  [[nodiscard]] std::vector<std::vector<Span>> threads() const;
  [[nodiscard]] Index left_out() const { return left_out_; }
  /// [rows][spans] in the order of their beginnings.
  [[nodiscard]] std::vector<std::vector<Span>> transfers() const;

 private:
  // What of a parallel_for a thread did, as a part of a span of the main thread: nothing until that is known.
  struct ThreadSpan {
    ThreadShare share;
    std::size_t part_of = 0;
  };
  std::span<ThreadShare> begun(Index threads) override;
  void ended() override;
  void name_threads(std::size_t part_of);
  void listen(bool does);
  [[nodiscard]] Span whole(std::size_t at) const;

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
  Index rows_ = 0;
  std::vector<std::vector<Index>> experts_;  // of every wave that was entered
  std::optional<std::size_t> open_step_, open_pass_, open_layer_;
  std::vector<Span> main_thread_;    // without their experts
  std::vector<Index> experts_of_;    // [main_thread_] their place in experts_; -1: none
  std::vector<ThreadShare> shares_;  // of the parallel_for that is under way
  std::vector<ThreadSpan> thread_spans_;
  std::size_t num_named_ = 0;  // of them, whose part_of is known
  Index most_thread_spans_;
  Index left_out_ = 0;
  bool listens_ = false;
  std::vector<Span> transfers_;
};

}  // namespace conclave
