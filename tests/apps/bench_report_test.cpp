// SPDX-License-Identifier: BSD-3-Clause
#include "apps/bench_report.hpp"

#include "apps/bare_experts.hpp"
#include "apps/line_chart.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/parallel.hpp"

#include <gmock/gmock.h>

namespace conclave::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Timings, AreToldByLeastMedianAndMost) {
  const Timings odd{{5.0, 1.0, 100.0}};
  EXPECT_EQ(odd.min(), 1.0);
  EXPECT_EQ(odd.median(), 5.0);
  EXPECT_EQ(odd.max(), 100.0);
  EXPECT_EQ(Timings({4.0, 1.0, 2.0, 100.0}).median(), 3.0);
  EXPECT_THROW(static_cast<void>(Timings{}.median()), InvariantError);
}

TEST(Timings, AreWrittenInTheUnitThatFits) {
  EXPECT_EQ(seconds_text(1.5e-6), "1.5 us");
  EXPECT_EQ(seconds_text(0.0123456), "12.35 ms");
  EXPECT_EQ(seconds_text(61.5), "61.5 s");
}

Report small_report() {
  Line whole;
  whole.name = "whole";
  whole.ours.seconds = {0.2, 0.4, 0.3};
  whole.floors.resize(2);
  whole.floors[0].seconds = {0.1, 0.2, 0.1};
  whole.floors[1].seconds = {0.6};
  whole.amount = 6.0;
  whole.unit = "GB/s";
  whole.values = {7.5};
  Line part;
  part.name = "part";
  part.ours.seconds = {0.001};
  part.is_part = true;
  Report report;
  report.measurement = "thing";
  report.title = "A thing";
  report.floors = {"floor", "other"};
  report.columns = {"extra"};
  report.lines = {whole, part};
  report.notes = {"a note"};
  report.facts["thing_s"] = 0.3;
  return report;
}

TEST(Report, TableAndObjectSayTheSame) {
  const Report report = small_report();
  EXPECT_DOUBLE_EQ(report.lines[0].ratio(0), 3.0);
  EXPECT_DOUBLE_EQ(report.lines[0].ratio(1), 0.5);
  const std::string table = table_text(report);
  EXPECT_THAT(table, HasSubstr("A thing\n"));
  EXPECT_THAT(table, HasSubstr("  whole   200 ms  300 ms  400 ms  20 GB/s    3.000    0.500  7.500\n"));
  EXPECT_THAT(table, HasSubstr("\n    part    1 ms    1 ms    1 ms\n"));
  EXPECT_THAT(table, HasSubstr("\n  a note\n"));
  const Json object = report_json(report);
  EXPECT_EQ(object.at("measurement"), "thing");
  EXPECT_EQ(object.at("thing_s"), 0.3);
  const Json& line = object.at("results").at(0);
  EXPECT_EQ(line.at("median_s"), 0.3);
  EXPECT_DOUBLE_EQ(line.at("rate").get<double>(), 20.0);
  EXPECT_EQ(line.at("extra"), 7.5);
  EXPECT_EQ(line.at("floors").at("other").at("median_s"), 0.6);
  EXPECT_DOUBLE_EQ(line.at("floors").at("floor").at("ratio").get<double>(), 3.0);
  EXPECT_FALSE(object.at("results").at(1).contains("floors"));
}

// 6 operations for each row and element of a matrix: forward, input gradient and weight gradient are 2 each.
TEST(BareExperts, CountsItsOperations) {
  using experts::ExpertKind;
  const auto flops = [](const experts::ExpertShape& shape, Index rows) { return BareExperts({shape}, {rows}).flops(); };
  EXPECT_EQ(flops({ExpertKind::gelu, 5, 7, false, 0}, 3), 6.0 * 3 * (2 * 5 * 7));
  EXPECT_EQ(flops({ExpertKind::swiglu, 5, 7, false, 0}, 3), 6.0 * 3 * (3 * 5 * 7));
  EXPECT_EQ(flops({ExpertKind::linear, 5, 7, false, 0}, 3), 6.0 * 3 * (5 * 5));
  EXPECT_EQ(flops({ExpertKind::relu, 5, 7, false, 2}, 3), 6.0 * 3 * (2 * 5 * 7 + 2 * 2 * (5 + 7)));
  EXPECT_EQ(flops({ExpertKind::gelu, 5, 7, false, 0}, 0), 0.0);
}

TEST(BareExperts, ComputesOnAnyNumberOfThreads) {
  using experts::ExpertKind;
  for (const Index threads : {1, 2, 5}) {
    use_threads(threads);
    BareExperts bare({{ExpertKind::gelu, 8, 12, false, 0}, {ExpertKind::swiglu, 8, 4, false, 2}}, {40, 3});
    bare.run();
    double sum = 0.0;
    for (Index s = 0; s < bare.num_stages(); ++s) sum += bare.flops(s);
    EXPECT_EQ(sum, bare.flops());
    EXPECT_GT(sum, 0.0);
    BareExperts nothing({}, {});
    nothing.run();
    EXPECT_EQ(nothing.flops(), 0.0);
  }
  use_threads(1);
}

TEST(LineChart, PutsPointsWhereTheirLogarithmsAre) {
  const std::string svg =
      svg_text({"A & B", "x", "y", {{"ideal", {{1, 1}, {4, 4}}, true}, {"measured", {{1, 1}, {2, 2}, {4, 2}}}}});
  EXPECT_THAT(svg, HasSubstr("A &amp; B"));
  // From (70, 420) at (1, 1) to (570, 40) at (4, 4); 2 is half way.
  EXPECT_THAT(svg, HasSubstr("<path d=\"M70.0,420.0L570.0,40.0\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\" "
                             "stroke-dasharray"));
  EXPECT_THAT(svg, HasSubstr("M70.0,420.0L320.0,230.0L570.0,230.0"));
  EXPECT_THAT(svg, HasSubstr("<circle cx=\"320.0\" cy=\"230.0\""));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(LineChart, TakesOnePointAndRefusesWhatHasNoLogarithm) {
  EXPECT_THAT(svg_text({"one", "x", "y", {{"c", {{1, 1}}}}}), Not(HasSubstr("nan")));
  EXPECT_THROW(static_cast<void>(svg_text({"none", "x", "y", {{"c", {{1, 0}}}}})), InvariantError);
}

}  // namespace
}  // namespace conclave::apps
