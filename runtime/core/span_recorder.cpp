// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/span_recorder.hpp"

#include <algorithm>

namespace conclave {

SpanRecorder::~SpanRecorder() { listen(false); }

void SpanRecorder::listen(bool does) {
  if (does != listens_) tell_threads_to(does ? this : nullptr);
  listens_ = does;
}

void SpanRecorder::begin() {
  listen(false);
  step_ = pass_ = layer_ = -1;
  direction_.reset();
  leave_wave();
  for (std::optional<std::size_t>* span : {&open_step_, &open_pass_, &open_layer_}) span->reset();
  main_thread_.clear();
  experts_.clear();
  experts_of_.clear();
  thread_spans_.clear();
  num_named_ = 0;
  left_out_ = 0;
  transfers_.clear();
  began_at_ = Clock::now();
}

void SpanRecorder::begin_step(Index step) {
  end_step();
  step_ = step;
  open_step_ = open(SpanKind::step);
  listen(true);
}

void SpanRecorder::end_step() {
  listen(false);
  end_pass();
  close(open_step_);
  step_ = -1;
}

void SpanRecorder::begin_pass(Index pass) {
  end_pass();
  pass_ = pass;
  open_pass_ = open(SpanKind::pass);
}

void SpanRecorder::end_pass() {
  enter_layer({}, {});
  close(open_pass_);
  pass_ = -1;
}

void SpanRecorder::enter_layer(std::optional<Index> layer, std::optional<Direction> direction) {
  close(open_layer_);
  layer_ = layer.value_or(-1);
  direction_ = direction;
  if (layer) open_layer_ = open(SpanKind::layer);
}

void SpanRecorder::enter_wave(Index wave, std::vector<Index> experts, Index rows) {
  leave_wave();
  wave_ = wave;
  rows_ = rows;
  experts_.push_back(std::move(experts));
}

void SpanRecorder::leave_wave() {
  wave_ = -1;
  rows_ = 0;
}

void SpanRecorder::add(Phase phase, std::string_view of, Clock::time_point begin, Clock::time_point end) {
  Span span = begun(phase == Phase::wait ? SpanKind::wait : SpanKind::compute, begin, end);
  span.phase = phase;
  span.of = of;
  span.wave = wave_;
  const bool has_experts = phase == Phase::experts && wave_ >= 0;
  if (has_experts) span.rows = static_cast<double>(rows_);
  main_thread_.push_back(std::move(span));
  experts_of_.push_back(has_experts ? std::ssize(experts_) - 1 : -1);
  name_threads(main_thread_.size() - 1);
}

void SpanRecorder::add(SpanKind kind, std::string_view of, Clock::time_point begin, Clock::time_point end) {
  Span span = begun(kind, begin, end);
  span.of = of;
  main_thread_.push_back(std::move(span));
  experts_of_.push_back(-1);
  name_threads(main_thread_.size() - 1);
}

// Seen to have arrived before it was waited for, or else when waiting for it ended, which is what was recorded last.
void SpanRecorder::add(const Transfer& transfer) {
  const double begin_s = time_of(transfer.started_at);
  double end_s = begin_s + transfer.hidden_s;
  if (!main_thread_.empty() && main_thread_.back().kind == SpanKind::wait && end_s >= main_thread_.back().begin_s) {
    end_s = main_thread_.back().end_s;
  }
  Span span = begun(SpanKind::transfer, transfer.started_at, transfer.started_at);
  span.begin_s = std::max(0.0, begin_s);
  span.end_s = std::max(span.begin_s, end_s);
  span.phase = transfer.phase;
  span.of = transfer.of;
  span.wave = transfer.wave;
  span.rows = static_cast<double>(transfer.rows);
  span.bytes = static_cast<double>(transfer.bytes);
  transfers_.push_back(std::move(span));
}

void SpanRecorder::add_transfer(std::string_view of, Clock::time_point begin, Clock::time_point end) {
  Span span = begun(SpanKind::transfer, std::max(begin, began_at_), end);
  span.of = of;
  transfers_.push_back(std::move(span));
}

std::span<ThreadShare> SpanRecorder::begun(Index threads) {
  shares_.assign(static_cast<std::size_t>(threads), {});
  return shares_;
}

void SpanRecorder::ended() {
  for (const ThreadShare& share : shares_) {
    if (share.calls == 0) continue;
    if (std::ssize(thread_spans_) < most_thread_spans_) {
      thread_spans_.push_back({share});
    } else {
      ++left_out_;
    }
  }
}

// A parallel_for is a part of the phase that is recorded next: phases are when they end, or when another begins.
void SpanRecorder::name_threads(std::size_t part_of) {
  for (; num_named_ < thread_spans_.size(); ++num_named_) thread_spans_[num_named_].part_of = part_of;
}

Span SpanRecorder::whole(std::size_t at) const {
  Span span = main_thread_[at];
  if (experts_of_[at] >= 0) span.experts = experts_[static_cast<std::size_t>(experts_of_[at])];
  return span;
}

std::vector<Span> SpanRecorder::main_thread() const {
  std::vector<Span> spans;
  for (std::size_t i = 0; i < main_thread_.size(); ++i) spans.push_back(whole(i));
  return spans;
}

// Which rows a thread has of its phase's is not known.
std::vector<std::vector<Span>> SpanRecorder::threads() const {
  std::vector<std::vector<Span>> rows;
  for (std::size_t i = 0; i < num_named_; ++i) {
    const ThreadShare& share = thread_spans_[i].share;
    Span span = whole(thread_spans_[i].part_of);
    span.begin_s = time_of(share.begin);
    span.end_s = time_of(share.end);
    span.rows = 0.0;
    span.calls = share.calls;
    rows.resize(std::max(rows.size(), static_cast<std::size_t>(share.thread) + 1));
    rows[static_cast<std::size_t>(share.thread)].push_back(std::move(span));
  }
  return rows;
}

std::vector<std::vector<Span>> SpanRecorder::transfers() const {
  std::vector<Span> sorted = transfers_;
  std::ranges::stable_sort(sorted, {}, &Span::begin_s);
  std::vector<std::vector<Span>> rows;
  for (Span& span : sorted) {
    const auto free = std::ranges::find_if(rows, [&](const auto& row) { return row.back().end_s <= span.begin_s; });
    (free == rows.end() ? rows.emplace_back() : *free).push_back(std::move(span));
  }
  return rows;
}

Span SpanRecorder::begun(SpanKind kind, Clock::time_point begin, Clock::time_point end) const {
  Span span;
  span.kind = kind;
  span.begin_s = time_of(begin);
  span.end_s = time_of(end);
  span.step = step_;
  span.pass = pass_;
  span.layer = layer_;
  span.direction = direction_;
  return span;
}

std::size_t SpanRecorder::open(SpanKind kind) {
  const Clock::time_point now = Clock::now();
  main_thread_.push_back(begun(kind, now, now));
  experts_of_.push_back(-1);
  return main_thread_.size() - 1;
}

void SpanRecorder::close(std::optional<std::size_t>& span) {
  if (span) main_thread_[*span].end_s = time_of(Clock::now());
  span.reset();
}

}  // namespace conclave
