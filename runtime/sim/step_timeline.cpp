// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_timeline.hpp"

#include "runtime/core/error.hpp"

#include <algorithm>
#include <functional>

namespace conclave::sim {
namespace {

// A copy of each row is made both ways.
double share_of(Phase phase, Direction direction) {
  const bool is_copy = phase == Phase::dispatch || phase == Phase::combine;
  const double forward = is_copy ? 0.5 : forward_share;
  return direction == Direction::forward ? forward : 1.0 - forward;
}

/// One direction of a layer's exchanges, seen from the experts.
struct LayerExchanges {
  const LoggedTransfer& in;
  const LoggedTransfer& out;
  Phase in_phase;
  Phase out_phase;
  double all_s;   // from the first row in to the last one out
  double tail_s;  // after the slowest rank's experts
  double early;   // share of a wave's experts that comes after its results: backward, the weights' gradients
};

/// The slowest rank's experts.
struct Waves {
  double one_s;
  double between_s;  // exposed between two
};

LayerExchanges exchanges_of(const StepLog& log, Direction direction) {
  if (direction == Direction::forward) {
    return {log.dispatch, log.combine, Phase::dispatch, Phase::combine, log.forward_s, log.forward_tail_s, 0.0};
  }
  return {log.d_combine, log.d_dispatch, Phase::combine, Phase::dispatch, log.backward_s, log.backward_tail_s, 0.5};
}

/// Lays a row's spans one after another. Two clocks: the row's own, and that of the critical path, on which ranks meet.
class Pen {
 public:
  Pen(const LoggedRow& own, const StepLog& log, const Workload& w) : own_(own), log_(log), w_(w) {}

  [[nodiscard]] std::vector<Span> spans() && { return std::move(spans_); }
  [[nodiscard]] StepTimeline::Transfers transfers() && { return std::move(transfers_); }

  // --- What holds others ---
  std::size_t open(SpanKind kind) {
    spans_.push_back(begun(kind));
    return spans_.size() - 1;
  }
  void close(std::size_t span) { spans_[span].end_s = now_s_; }
  void enter_pass(Index pass) { pass_ = pass; }
  void enter_layer(Index layer, std::optional<Direction> direction) {
    layer_ = layer;
    direction_ = direction;
  }

  // --- What a rank does ---
  void compute(Phase phase, const LoggedWork& own, const LoggedWork& slowest, Index wave = -1) {
    Span span = begun(SpanKind::compute);
    now_s_ += own.seconds;
    met_s_ += slowest.seconds;
    if (!(own.seconds > 0.0)) return;
    span.end_s = now_s_;
    span.phase = phase;
    span.wave = wave;
    span.rows = own.rows;
    span.flops = own.flops;
    spans_.push_back(span);
  }
  // What both directions take together, this one's share.
  void compute_share(Phase phase, LoggedPhases LoggedRow::*part) {
    const double share = share_of(phase, *direction_);
    compute(phase, of(own_.*part, phase).scaled(share), of(log_.slowest.*part, phase).scaled(share));
  }
  // A rank that is late by now, as its parts do not all have the same slowest rank, does not wait.
  void wait_until_met(std::string_view for_what, Index wave = -1) {
    if (!(met_s_ > now_s_)) return;
    Span span = begun(SpanKind::wait);
    span.end_s = now_s_ = met_s_;
    span.phase = Phase::wait;
    span.of = for_what;
    span.wave = wave;
    spans_.push_back(span);
  }
  void meet() { wait_until_met("the slowest rank"); }
  void expose(double seconds, std::string_view for_what, Index wave = -1) {
    meet();
    met_s_ += seconds;
    wait_until_met(for_what, wave);
  }

  // --- What is on its way, from a time of the critical path on ---
  [[nodiscard]] double met_s() const { return met_s_; }
  void send(std::vector<Span>& row, double begin_s, double seconds, std::optional<Phase> phase, std::string_view what) {
    if (!(seconds > 0.0)) return;
    Span span = begun(SpanKind::transfer);
    // What is laid out backwards from an end may miss its predecessor by rounding.
    span.begin_s = row.empty() ? std::max(0.0, begin_s) : std::max(row.back().end_s, begin_s);
    span.end_s = std::max(span.begin_s, begin_s + seconds);
    span.phase = phase;
    span.of = what;
    row.push_back(span);
  }
  // Rows of all waves leave at once; results of each when there are some, in time for those that follow to arrive with
  // the last ones.
  void send_waves(const LayerExchanges& x, const Waves& experts) {
    const auto all = static_cast<double>(w_.transport.waves);
    double begin_s = met_s_;
    for (Index wave = 0; wave < w_.transport.waves; ++wave) {
      send_wave(x.in, begin_s, x.in_phase, wave);
      begin_s += x.in.seconds;
    }
    for (Index wave = 0; wave < w_.transport.waves; ++wave) {
      const auto number = static_cast<double>(wave);
      const double ready_s =
          met_s_ + x.in.seconds + (number + 1.0 - x.early) * experts.one_s + number * experts.between_s;
      const double latest_s = met_s_ + x.all_s - (all - number) * x.out.seconds;
      begin_s = std::max(begin_s, std::min(wave + 1 < w_.transport.waves ? ready_s : latest_s, latest_s));
      send_wave(x.out, begin_s, x.out_phase, wave);
      begin_s += x.out.seconds;
    }
  }
  void send_other(double seconds, std::optional<Phase> phase, std::string_view what) {
    send(transfers_.rows, met_s_, seconds, phase, what);
  }
  // Runs of gradients, the last of which arrives as the pass ends.
  void send_sums(double end_s) {
    for (const StepLog::Reduction& run : log_.reductions) {
      send(transfers_.sums, end_s + run.begin_s, run.end_s - run.begin_s, Phase::reduce, "gradients");
    }
  }

 private:
  void send_wave(const LoggedTransfer& transfer, double begin_s, Phase phase, Index wave) {
    if (!(transfer.seconds > 0.0)) return;
    send(transfers_.rows, begin_s, transfer.seconds, phase, "rows");
    transfers_.rows.back().wave = wave;
    transfers_.rows.back().rows = transfer.rows;
    transfers_.rows.back().bytes = transfer.bytes;
  }
  [[nodiscard]] Span begun(SpanKind kind) const {
    Span span;
    span.kind = kind;
    span.begin_s = span.end_s = now_s_;
    span.step = kind == SpanKind::step ? 1 : -1;
    span.pass = pass_;
    span.layer = layer_;
    span.direction = direction_;
    return span;
  }

  const LoggedRow& own_;
  const StepLog& log_;
  const Workload& w_;
  double now_s_ = 0.0;
  double met_s_ = 0.0;
  Index pass_ = -1;
  Index layer_ = -1;
  std::optional<Direction> direction_{};
  std::vector<Span> spans_;
  StepTimeline::Transfers transfers_;
};

/// A step, written by a pen in the order in which a run does it.
class Script {
 public:
  Script(const StepLog& log, const Workload& w, const std::vector<bool>& has_experts, const LoggedRow& own)
      : log_(log), w_(w), has_experts_(has_experts), own_(own), pen_(own, log, w) {}

  Pen write() && {
    const std::size_t step = pen_.open(SpanKind::step);
    for (Index pass = 0; pass < w_.passes; ++pass) write_pass(pass);
    pen_.enter_pass(-1);
    pen_.compute(Phase::optimizer, own_.optimizer, log_.slowest.optimizer);
    pen_.meet();
    pen_.send_other(log_.gathering_s, Phase::optimizer, "parameters");
    pen_.expose(log_.gathering_s, "parameters");
    pen_.send_other(log_.replicas_s, std::nullopt, "replicas");
    pen_.expose(log_.replicas_s, "replicas");
    pen_.send_other(log_.small_messages_s, std::nullopt, "report");
    pen_.expose(log_.small_messages_s, "report");
    pen_.expose(log_.noise_s, "noise of the slowest rank");
    pen_.close(step);
    return std::move(pen_);
  }

 private:
  void write_pass(Index pass) {
    pen_.enter_pass(pass);
    const std::size_t span = pen_.open(SpanKind::pass);
    whole(Phase::data);
    write_direction(Direction::forward);
    write_direction(Direction::backward);
    pen_.enter_layer(-1, {});
    pen_.meet();
    pen_.expose(log_.exposed_reduction_s, "gradients");
    pen_.send_sums(pen_.met_s());
    pen_.compute(Phase::reduce, own_.reduce, log_.slowest.reduce);
    whole(Phase::other);
    pen_.close(span);
  }
  void whole(Phase phase) { pen_.compute(phase, of(own_.outside, phase), of(log_.slowest.outside, phase)); }

  void write_direction(Direction direction) {
    const Index blocks = std::ssize(has_experts_);
    pen_.enter_layer(-1, direction);
    const bool forward = direction == Direction::forward;
    pen_.compute_share(forward ? Phase::embedding : Phase::head, &LoggedRow::outside);
    for (Index b = 0; b < blocks; ++b) write_block(forward ? b : blocks - 1 - b, direction);
    pen_.enter_layer(-1, direction);
    pen_.compute_share(forward ? Phase::head : Phase::embedding, &LoggedRow::outside);
  }

  void write_block(Index block, Direction direction) {
    pen_.enter_layer(block, direction);
    const std::size_t span = pen_.open(SpanKind::layer);
    const bool moe = has_experts_[static_cast<std::size_t>(block)];
    const auto part = moe ? &LoggedRow::moe_block : &LoggedRow::dense_block;
    if (direction == Direction::forward) {
      pen_.compute_share(Phase::attention, part);
      pen_.compute_share(Phase::dense, part);
      if (moe) write_experts_forward();
    } else {
      if (moe) write_experts_backward();
      pen_.compute_share(Phase::dense, part);
      pen_.compute_share(Phase::attention, part);
    }
    pen_.close(span);
  }

  void write_experts_forward() {
    pen_.compute_share(Phase::gate, &LoggedRow::layer);
    pen_.compute_share(Phase::dispatch, &LoggedRow::layer);
    pen_.meet();
    pen_.send_other(log_.counts_s, std::nullopt, "counts");
    pen_.expose(log_.counts_s, "counts");
    write_waves(Direction::forward);
    pen_.compute_share(Phase::combine, &LoggedRow::layer);
  }
  void write_experts_backward() {
    pen_.compute_share(Phase::combine, &LoggedRow::layer);
    write_waves(Direction::backward);
    pen_.compute_share(Phase::dispatch, &LoggedRow::layer);
    pen_.compute_share(Phase::gate, &LoggedRow::layer);
  }

  // in, W parts of the experts with what is exposed between them, out
  void write_waves(Direction direction) {
    const LayerExchanges x = exchanges_of(log_, direction);
    const Index waves = w_.transport.waves;
    const double share = share_of(Phase::experts, direction);
    const LoggedWork own = of(own_.layer, Phase::experts).scaled(share / static_cast<double>(waves));
    const LoggedWork slowest = of(log_.slowest.layer, Phase::experts).scaled(share / static_cast<double>(waves));
    const double all_experts_s = share * of(log_.slowest.layer, Phase::experts).seconds;
    const double between_s =
        waves == 1 ? 0.0
                   : std::max(0.0, x.all_s - x.in.seconds - all_experts_s - x.tail_s) / static_cast<double>(waves - 1);
    pen_.meet();
    pen_.send_waves(x, {slowest.seconds, between_s});
    pen_.expose(x.in.seconds, "rows", 0);
    for (Index wave = 0; wave < waves; ++wave) {
      if (wave > 0) pen_.expose(between_s, "rows", wave);
      pen_.compute(Phase::experts, own, slowest, wave);
    }
    // What is exposed of the results.
    pen_.expose(x.all_s - x.in.seconds - all_experts_s - static_cast<double>(waves - 1) * between_s, "rows", waves - 1);
  }

  const StepLog& log_;
  const Workload& w_;
  const std::vector<bool>& has_experts_;
  const LoggedRow& own_;
  Pen pen_;
};

}  // namespace

StepTimeline::StepTimeline(const StepLog& log, const Workload& workload, std::vector<bool> has_experts)
    : log_(log), workload_(workload), has_experts_(std::move(has_experts)) {
  const Index moe = std::ranges::count(has_experts_, true);
  invariant(std::ssize(has_experts_) == workload.blocks() && moe == workload.moe_blocks,
            "{} blocks, {} with experts, of a workload of {} and {}", has_experts_.size(), moe, workload.blocks(),
            workload.moe_blocks);
}

std::vector<Span> StepTimeline::row(const LoggedRow& row) const {
  return Script(log_, workload_, has_experts_, row).write().spans();
}

StepTimeline::Transfers StepTimeline::transfers() const {
  return Script(log_, workload_, has_experts_, log_.slowest).write().transfers();
}

}  // namespace conclave::sim
