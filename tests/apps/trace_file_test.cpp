// SPDX-License-Identifier: BSD-3-Clause
#include "apps/trace_file.hpp"

#include "runtime/core/error.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

using test::content_of;

Span span(SpanKind kind, double begin_s, double end_s) {
  Span s;
  s.kind = kind;
  s.begin_s = begin_s;
  s.end_s = end_s;
  return s;
}

TEST(TraceFile, AnEventSaysWhatASpanIs) {
  const train::TemporaryFolder folder;
  {
    TraceFile file(folder.path("t.json"), {{"of", "a \"test\"\n"}});
    TraceEvents written;
    written.name_process(4, "rank \"3\"\\", 7);
    written.name_thread({4, 1}, "main");
    Span layer = span(SpanKind::layer, 1.5e-6, 9e-6);
    layer.layer = 2;
    layer.pass = 1;
    layer.direction = Direction::backward;
    written.add({4, 1}, layer);
    Span wait = span(SpanKind::wait, 1.5e-6, 4.25e-6);
    wait.phase = Phase::wait;
    wait.of = "rows";
    wait.wave = 0;
    written.add({4, 1}, wait);
    Span experts = span(SpanKind::compute, 4.25e-6, 9e-6);
    experts.phase = Phase::experts;
    experts.rows = 10.0 / 3.0;
    experts.flops = 1e12;
    experts.experts = {3, 7};
    written.add({4, 1}, experts);
    file.write(written.text());
    file.close();
  }
  const Json trace = Json::parse(content_of(folder.path("t.json")));
  EXPECT_EQ(trace["displayTimeUnit"], "ms");
  EXPECT_EQ(trace["otherData"]["of"], "a \"test\"\n");
  const Json& events = trace["traceEvents"];
  ASSERT_EQ(events.size(), 6U);
  EXPECT_EQ(events[0], (Json{{"ph", "M"}, {"name", "process_name"}, {"pid", 4}, {"args", {{"name", "rank \"3\"\\"}}}}));
  EXPECT_EQ(events[1]["args"]["sort_index"], 7);
  EXPECT_EQ(events[2]["name"], "thread_name");
  EXPECT_EQ(events[3], (Json{{"ph", "X"},
                             {"name", "layer 2 backward"},
                             {"cat", "layer"},
                             {"ts", 1.5},
                             {"dur", 7.5},
                             {"pid", 4},
                             {"tid", 1},
                             {"args", {{"pass", 1}, {"layer", 2}, {"direction", "backward"}}}}));
  EXPECT_EQ(events[4]["name"], "wait");
  EXPECT_EQ(events[4]["args"], (Json{{"wave", 0}, {"for", "rows"}}));
  EXPECT_EQ(events[5]["name"], "experts");
  EXPECT_EQ(events[5]["args"], (Json{{"rows", 3.333}, {"flops", 1e12}, {"experts", {3, 7}}}));
}

TEST(TraceFile, RoundedSpansStillFollowOneAnotherAndNest) {
  const train::TemporaryFolder folder;
  TraceEvents written;
  constexpr Index count = 1000;
  const double third_ns = 1e-9 / 3.0;
  const double begin_s = 2000.0;  // where a nanosecond is few bits
  written.add({1, 1}, span(SpanKind::step, begin_s, begin_s + 7.0 * count * third_ns));
  double now_s = begin_s;
  for (Index i = 0; i < count; ++i) {
    const double end_s = begin_s + 7.0 * static_cast<double>(i + 1) * third_ns;
    written.add({1, 1}, span(SpanKind::compute, now_s, end_s));
    now_s = end_s;
  }
  written.add({1, 1}, span(SpanKind::compute, now_s, now_s + 0.1 * third_ns));  // none at all
  TraceFile file(folder.path("t.json"), Json::object());
  file.write(written.text());
  file.close();
  const Json trace = Json::parse(content_of(folder.path("t.json")));
  const Json& events = trace["traceEvents"];
  ASSERT_EQ(events.size(), 1U + count);
  const auto ns = [](const Json& microseconds) { return std::llround(1000.0 * microseconds.get<double>()); };
  const auto step_end = ns(events[0]["ts"]) + ns(events[0]["dur"]);
  for (std::size_t i = 1; i < events.size(); ++i) {
    EXPECT_GT(ns(events[i]["dur"]), 0);
    EXPECT_LE(ns(events[i]["ts"]) + ns(events[i]["dur"]), step_end);
    if (i == 1) continue;
    EXPECT_EQ(ns(events[i]["ts"]), ns(events[i - 1]["ts"]) + ns(events[i - 1]["dur"]));
  }
}

TEST(TraceFile, NamesAreThoseOfPhasesAndTransfersWithoutOneSayWhatTheyAre) {
  Span s = span(SpanKind::transfer, 0.0, 1.0);
  s.of = "counts";
  EXPECT_EQ(s.name(), "counts");
  s.phase = Phase::dispatch;
  EXPECT_EQ(s.name(), "dispatch");
  s = span(SpanKind::step, 0.0, 1.0);
  s.step = 12;
  EXPECT_EQ(s.name(), "step 12");
  EXPECT_EQ(trace_name(RankId{3}), "rank 3");
}

TEST(TraceFile, EventsOfSeveralRanksFollowOneAnother) {
  const train::TemporaryFolder folder;
  TraceEvents one, none, two;
  one.name_process(1, "rank 0", 0);
  two.add({2, 1}, span(SpanKind::step, 0.0, 1.0));
  TraceFile file(folder.path("t.json"), Json::object());
  for (const TraceEvents* events : {&none, &one, &none, &two}) file.write(events->text());
  file.close();
  const Json trace = Json::parse(content_of(folder.path("t.json")));
  ASSERT_EQ(trace["traceEvents"].size(), 3U);
  EXPECT_EQ(trace["traceEvents"][2]["pid"], 2);
}

TEST(TraceFile, SaysWhereItCannotBeWritten) {
  const train::TemporaryFolder folder;
  EXPECT_THROW(TraceFile(folder.path("nowhere/t.json"), Json::object()), InputError);
  TraceFile full("/dev/full", Json::object());
  EXPECT_THROW(full.close(), InputError);
}

}  // namespace
}  // namespace conclave::apps
