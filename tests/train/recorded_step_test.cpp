// SPDX-License-Identifier: BSD-3-Clause
// Steps that are recorded as spans, and where the time of real steps went.
#include "runtime/core/span_recorder.hpp"
#include "runtime/train/waiting.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using test::world;

constexpr Index steps = 3;

struct Recording {
  std::string name;
  std::function<void(TrainOptions&)> change;
};
void PrintTo(const Recording& r, std::ostream* out) { *out << r.name; }

class RecordedSteps : public testing::TestWithParam<Recording> {};
INSTANTIATE_TEST_SUITE_P(Trainings, RecordedSteps,
                         testing::Values(Recording{"plain", [](TrainOptions&) {}},
                                         Recording{"passes_waves_and_resting_gate",
                                                   [](TrainOptions& o) {
                                                     o.passes = 2;
                                                     o.transport.waves = 2;
                                                     o.optimizer.gate_every = 2;
                                                   }},
                                         Recording{"every_other_layer_with_claims_over_the_step",
                                                   [](TrainOptions& o) {
                                                     o.model.moe_every = 2;
                                                     o.model.router.capacity_factor = 1.0;
                                                     o.model.router.capacity_scope = gating::CapacityScope::step;
                                                     o.transport.exchange = "hierarchical";
                                                   }},
                                         Recording{"dense", [](TrainOptions& o) { o.model.moe_every = 0; }}),
                         [](const auto& tested) { return tested.param.name; });

TrainOptions options_of(const Recording& recording) {
  TrainOptions options = short_run_options();
  recording.change(options);
  return options;
}

TEST_P(RecordedSteps, HaveTheSameBits) {
  ShortRun plain(options_of(GetParam()), world());
  ShortRun recorded(options_of(GetParam()), world());
  SpanRecorder recorder;
  for (Index step = 1; step <= steps; ++step) {
    recorded.trainer().record_in(step > 1 ? &recorder : nullptr);
    const double loss = plain.trainer().step().loss;
    EXPECT_EQ(recorded.trainer().step().loss, loss) << step;
  }
  EXPECT_FALSE(recorder.main_thread().empty());
  EXPECT_EQ(recorded.tensors(), plain.tensors());
}

// What a rank's spans add up to, over ranks, is what the step's record says of its phases.
TEST_P(RecordedSteps, AddUpToThePhasesOfTheRecord) {
  ShortRun run(options_of(GetParam()), world());
  SpanRecorder recorder;
  run.trainer().step();
  run.trainer().record_in(&recorder);
  const StepRecord record = run.trainer().step();
  run.trainer().record_in(nullptr);
  for (const auto& [phase, name] : enum_names(Phase{})) {
    double sum_s = 0.0;
    for (const Span& span : recorder.main_thread()) sum_s += span.phase == phase ? span.seconds() : 0.0;
    const std::vector<double> of_ranks = world().gather_all(std::span<const double>(&sum_s, 1));
    const PhaseSpread spread = spread_of(of_ranks);
    const PhaseSpread& told = record.phases[static_cast<std::size_t>(phase)];
    EXPECT_NEAR(spread.min_s, told.min_s, 1e-9) << name;
    EXPECT_NEAR(spread.mean_s, told.mean_s, 1e-9) << name;
    EXPECT_NEAR(spread.max_s, told.max_s, 1e-9) << name;
  }
  const auto count = [&](SpanKind kind) { return std::ranges::count(recorder.main_thread(), kind, &Span::kind); };
  EXPECT_EQ(count(SpanKind::step), 1);
  EXPECT_EQ(count(SpanKind::pass), run.trainer().options().passes);
  EXPECT_EQ(count(SpanKind::layer), 2 * run.trainer().options().passes * run.trainer().options().model.layers);
  EXPECT_EQ(recorder.main_thread().front().name(), "step 2");
}

TEST_P(RecordedSteps, TellWhichExpertsGetHowManyRows) {
  ShortRun run(options_of(GetParam()), world());
  SpanRecorder recorder;
  run.trainer().record_in(&recorder);
  const StepRecord record = run.trainer().step();
  std::map<std::tuple<Index, Index, Index>, double> rows;  // by layer, pass and wave, forward
  for (const Span& span : recorder.main_thread()) {
    if (span.phase != Phase::experts || span.direction != Direction::forward) continue;
    EXPECT_GE(span.wave, 0);
    for (const Index e : span.experts) EXPECT_LT(e, run.trainer().options().model.router.experts);
    rows[{span.layer, span.pass, span.wave}] = span.rows;
  }
  double here = 0.0;
  for (const auto& [place, number] : rows) here += number;
  Index claims = 0;
  for (const model::LayerStatistics& layer : record.layers) claims += layer.claims() - layer.over_capacity;
  EXPECT_EQ(world().sum(static_cast<Index>(here)), claims);
}

TEST_P(RecordedSteps, TimeOfRanksGoesSomewhere) {
  ShortRun run(options_of(GetParam()), world());
  for (Index step = 0; step < steps; ++step) {
    const StepRecord& record = run.trainer().step();
    const Attribution& a = record.attribution;
    double phases_s = 0.0;
    for (const PhaseSpread& phase : record.phases) phases_s += phase.mean_s;
    EXPECT_NEAR(a.total_s(), phases_s, 1e-9);
    const auto of = [&](Phase phase) { return record.phases[static_cast<std::size_t>(phase)].mean_s; };
    EXPECT_NEAR(a.exposed_s + a.imbalance_s, of(Phase::wait), 1e-9);
    EXPECT_NEAR(a.io_s, of(Phase::data), 1e-9);
    EXPECT_EQ(std::ssize(a.layers), run.trainer().options().model.layers);
    double layers_s = 0.0;
    for (const Attribution::Layer& layer : a.layers) layers_s += layer.compute_s;
    EXPECT_GT(layers_s, 0.0);
    EXPECT_LE(layers_s, a.compute_s + 1e-9);
    if (world().size() == 1) {
      EXPECT_EQ(a.imbalance_s, 0.0);
    }
  }
}

TEST(RecordedStep, SavesCountAsFiles) {
  ShortRun run(short_run_options(), world());
  run.trainer().step();
  run.trainer().add_saving(world().is_root() ? 5.0 * static_cast<double>(world().size()) : 0.0);
  EXPECT_GE(run.trainer().step().attribution.io_s, 5.0);
  EXPECT_LT(run.trainer().step().attribution.io_s, 5.0) << "they count once";
}

// One expert gets every token: whoever hosts it is the one that the others wait for. The loads are the step's, the
// times are not, as what else a machine does would be in them.
TEST(RecordedStep, AHotExpertIsNamed) {
  if (world().size() == 1) return;
  TrainOptions options = short_run_options();
  options.model.router.router = "rule";
  options.model.router.rules = "default -> 3";
  options.model.router.top_k = 1;
  options.model.layers = 1;
  ShortRun run(options, world());
  StepRecord record = run.trainer().step();
  const ExpertMap map = run.trainer().model().moe_layers()[0]->map();
  const Index ranks = world().size();
  const Index stretches = std::ssize(record.attribution.stretches_s) / ranks;
  std::ranges::fill(record.attribution.stretches_s, 0.0);
  const Index hot = map.owner(ExpertId{3}).value() * stretches + stretch_of_experts(0);
  record.attribution.stretches_s[static_cast<std::size_t>(hot)] = 4.0;
  record.attribution.imbalance_s = 4.0 - 4.0 / static_cast<double>(ranks);
  record.seconds = 5.0;
  Waiting waiting;
  waiting.add(record);
  const std::string sentence = waiting.sentence(std::span(&map, 1), options.groups_in_pass());
  const std::string who = fmt::format("waited for rank {}: expert 3 of MoE layer 0 had 4.0 times the mean load",
                                      map.owner(ExpertId{3}).value());
  EXPECT_NE(sentence.find(who), std::string::npos) << sentence;
}

}  // namespace
}  // namespace conclave::train
