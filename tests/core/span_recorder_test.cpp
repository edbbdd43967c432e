// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/span_recorder.hpp"

#include "runtime/core/parallel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <thread>

namespace conclave {
namespace {

constexpr std::chrono::milliseconds pause{2};

// A step as a trainer does it: two passes over a layer, with scopes within scopes.
void do_step(SpanRecorder& recorder, PhaseTimes& times) {
  recorder.begin_step(7);
  for (Index pass = 0; pass < 2; ++pass) {
    recorder.begin_pass(pass);
    times.enter_layer(0, Direction::forward);
    {
      const PhaseScope experts(times, Phase::experts);
      recorder.enter_wave(1, {4, 9}, 30);
      const PhaseScope wait(times, Phase::wait, "rows");
      std::this_thread::sleep_for(pause);
    }
    recorder.leave_wave();
    times.enter_layer(std::nullopt, Direction::backward);
    const PhaseScope reduce(times, Phase::reduce);
  }
  recorder.end_pass();
  const PhaseScope optimizer(times, Phase::optimizer);
}

TEST(SpanRecorder, SpansAreTheTimesOfThePhases) {
  SpanRecorder recorder;
  PhaseTimes times;
  times.record_in(&recorder);
  do_step(recorder, times);
  recorder.end_step();
  PhaseTimes again;
  for (const Span& span : recorder.main_thread()) {
    if (!span.phase) continue;
    double sum = 0.0;
    for (const Span& other : recorder.main_thread()) sum += other.phase == span.phase ? other.seconds() : 0.0;
    EXPECT_NEAR(sum, times.seconds(*span.phase), 1e-12) << span.name();
  }
  EXPECT_GT(times.seconds(Phase::wait), 0.0);
  const auto seconds = times.layers()[0];
  EXPECT_GE(seconds.wait_s, 2.0 * 0.002);
  EXPECT_GT(seconds.experts_s, 0.0);
  EXPECT_NEAR(seconds.own_s + seconds.experts_s + seconds.wait_s,
              times.seconds(Phase::experts) + times.seconds(Phase::wait), 1e-12);
}

TEST(SpanRecorder, SpansLieInOneAnotherOrFollow) {
  SpanRecorder recorder;
  PhaseTimes times;
  times.record_in(&recorder);
  do_step(recorder, times);
  do_step(recorder, times);
  recorder.end_step();
  std::vector<const Span*> around;
  Index depth = 0;
  for (const Span& span : recorder.main_thread()) {
    EXPECT_GE(span.seconds(), 0.0) << span.name();
    while (!around.empty() && span.begin_s >= around.back()->end_s) around.pop_back();
    if (!around.empty()) {
      EXPECT_LE(span.end_s, around.back()->end_s) << span.name() << " in " << around.back()->name();
    }
    if (span.kind != SpanKind::compute && span.kind != SpanKind::wait) around.push_back(&span);
    depth = std::max(depth, std::ssize(around));
  }
  EXPECT_EQ(depth, 3) << "step, pass, layer";
}

TEST(SpanRecorder, SpansSayWhereTheyAre) {
  SpanRecorder recorder;
  PhaseTimes times;
  times.record_in(&recorder);
  do_step(recorder, times);
  recorder.end_step();
  const std::vector<Span>& spans = recorder.main_thread();
  EXPECT_EQ(spans[0].name(), "step 7");
  EXPECT_EQ(spans[1].name(), "pass 0");
  EXPECT_EQ(spans[2].name(), "layer 0 forward");
  const auto wait = std::ranges::find(spans, SpanKind::wait, &Span::kind);
  EXPECT_EQ(wait->of, "rows");
  EXPECT_EQ(wait->wave, 1);
  const auto experts = std::ranges::find(spans, std::optional(Phase::experts), &Span::phase);
  EXPECT_EQ(experts->experts, (std::vector<Index>{4, 9}));
  EXPECT_EQ(experts->rows, 30.0);
  EXPECT_EQ(experts->layer, 0);
  EXPECT_EQ(experts->direction, Direction::forward);
  const Span& optimizer = spans.back();
  EXPECT_EQ(optimizer.name(), "optimizer");
  EXPECT_EQ(optimizer.pass, -1);
  EXPECT_EQ(optimizer.step, 7);
  EXPECT_EQ(optimizer.wave, -1);
}

// A step whose experts and attention are shared out, `calls` calls each.
void do_shared_step(SpanRecorder& recorder, PhaseTimes& times, Index calls) {
  const auto work = [](Index) { std::this_thread::sleep_for(pause); };
  recorder.begin_step(3);
  times.enter_layer(1, Direction::backward);
  {
    const PhaseScope attention(times, Phase::attention);
    parallel_for(calls, work);
  }
  {
    const PhaseScope experts(times, Phase::experts);
    recorder.enter_wave(0, {4, 9}, 30);
    parallel_for(calls, work);
    { const PhaseScope wait(times, Phase::wait, "rows"); }
    parallel_for(calls, work);
  }
  recorder.leave_wave();
  recorder.end_step();
  parallel_for(calls, [](Index) {});  // between steps
}

TEST(SpanRecorder, ThreadsHaveRowsOfTheCallsThatTheyTook) {
  constexpr Index calls = 12;
  for (const Index threads : {1, 2, 3}) {
    use_threads(threads);
    SpanRecorder recorder;
    PhaseTimes times;
    times.record_in(&recorder);
    do_shared_step(recorder, times, calls);
    use_threads(1);
    const std::vector<std::vector<Span>> rows = recorder.threads();
    ASSERT_EQ(std::ssize(rows), threads == 1 ? 0 : threads) << "a call takes so long that each thread gets one";
    const std::vector<Span> phases = recorder.main_thread();
    std::map<std::string, Index> calls_of;
    for (const std::vector<Span>& row : rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        const Span& span = row[i];
        EXPECT_LE(i > 0 ? row[i - 1].end_s : 0.0, span.begin_s) << i;
        calls_of[span.name()] += span.calls;
        EXPECT_EQ(span.step, 3);
        EXPECT_EQ(span.layer, 1);
        EXPECT_EQ(span.direction, Direction::backward);
        EXPECT_EQ(span.rows, 0.0);
        EXPECT_EQ(span.experts, span.phase == Phase::experts ? (std::vector<Index>{4, 9}) : std::vector<Index>{});
        EXPECT_TRUE(std::ranges::any_of(phases, [&](const Span& of) {
          return of.phase == span.phase && of.begin_s <= span.begin_s && span.end_s <= of.end_s;
        })) << "it lies in its phase";
      }
    }
    if (threads == 1) continue;
    EXPECT_EQ(calls_of, (std::map<std::string, Index>{{"attention", calls}, {"experts", 2 * calls}}));
    EXPECT_EQ(recorder.left_out(), 0);
    recorder.begin();
    EXPECT_TRUE(recorder.threads().empty());
  }
}

TEST(SpanRecorder, SpansOfThreadsAreNoMoreThanAskedFor) {
  use_threads(2);
  SpanRecorder recorder(3);
  PhaseTimes times;
  times.record_in(&recorder);
  do_shared_step(recorder, times, 12);
  use_threads(1);
  std::size_t kept = 0;
  for (const std::vector<Span>& row : recorder.threads()) kept += row.size();
  EXPECT_EQ(kept, 3U);
  EXPECT_EQ(recorder.left_out(), 3) << "of three times two";
}

TEST(SpanRecorder, NothingIsRecordedUnlessItIsAsked) {
  SpanRecorder recorder;
  PhaseTimes times;
  { const PhaseScope scope(times, Phase::gate); }
  times.record_in(&recorder);
  times.record_in(nullptr);
  { const PhaseScope scope(times, Phase::gate); }
  EXPECT_TRUE(recorder.main_thread().empty());
  times.record_in(&recorder);
  { const PhaseScope scope(times, Phase::gate); }
  EXPECT_EQ(recorder.main_thread().size(), 1U);
  recorder.begin();
  EXPECT_TRUE(recorder.main_thread().empty());
}

// What was seen to arrive early ends then; what was not, when waiting for it ended.
TEST(SpanRecorder, TransfersEndWhenTheyArriveAndHaveRowsWithoutOverlap) {
  SpanRecorder recorder;
  PhaseTimes times;
  times.record_in(&recorder);
  const Clock::time_point start = Clock::now();
  std::this_thread::sleep_for(pause);
  {
    const PhaseScope wait(times, Phase::wait, "rows");
    std::this_thread::sleep_for(pause);
  }
  times.add({.of = "rows", .phase = Phase::dispatch, .started_at = start, .hidden_s = 0.001, .rows = 5, .bytes = 40});
  times.add({.of = "rows", .phase = Phase::combine, .started_at = start, .hidden_s = 1.0});
  recorder.add_transfer("checkpoint", start - std::chrono::hours(1), Clock::now());
  const std::vector<std::vector<Span>> rows = recorder.transfers();
  ASSERT_EQ(rows.size(), 3U);
  Index transfers = 0;
  for (const std::vector<Span>& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) EXPECT_LE(row[i].end_s, row[i + 1].begin_s);
    transfers += std::ssize(row);
    for (const Span& span : row) {
      if (span.phase == Phase::dispatch) {
        EXPECT_NEAR(span.seconds(), 0.001, 1e-9);
        EXPECT_EQ(span.rows, 5.0);
        EXPECT_EQ(span.bytes, 40.0);
      }
      if (span.phase == Phase::combine) {
        EXPECT_EQ(span.end_s, recorder.main_thread().back().end_s);
      }
      if (!span.phase) {
        EXPECT_EQ(span.begin_s, 0.0) << "before the recorder began";
      }
    }
  }
  EXPECT_EQ(transfers, 3);
  EXPECT_NEAR(times.communication_s(), 1.001 + times.seconds(Phase::wait), 1e-12);
}

}  // namespace
}  // namespace conclave
