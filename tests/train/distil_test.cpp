// SPDX-License-Identifier: BSD-3-Clause
// A dense model that learns from one with experts: the teacher has its part in every step, the bits are those of one
// rank, and what the student begins at is the teacher's.
#include "runtime/core/parallel.hpp"
#include "runtime/train/start.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace conclave::train {
namespace {

using test::world;

TrainOptions teacher_options() {
  TrainOptions o = short_run_options();
  o.model.layers = 4;
  o.model.router.jitter = 0.1;  // which no teacher has
  return o;
}

TrainOptions student_options() {
  TrainOptions o = teacher_options();
  o.model.layers = 2;
  o.model.moe_every = 0;
  o.groups = 3;  // divides among few of the tested numbers of ranks
  o.passes = 3;
  o.start.init_from = "named";
  o.start.init_matching = true;
  o.distil = {"named", 0.5, 2.0};
  return o;
}

/// A teacher, some steps old, on the ranks of a communicator.
class Taught {
 public:
  explicit Taught(const comm::Communicator& communicator) : run_(teacher_options(), communicator) {
    for (int i = 0; i < 3; ++i) run_.trainer().step();
  }
  [[nodiscard]] ShortRun& run() { return run_; }
  [[nodiscard]] model::LanguageModel<float>& model() {
    return dynamic_cast<model::LanguageModel<float>&>(run_.trainer().model());
  }

 private:
  ShortRun run_;
};

/// Losses and norms of a student's steps, and its checkpoint's bytes.
struct Outcome {
  std::vector<double> numbers;
  std::string checkpoint;
};

Outcome learnt(const comm::Communicator& communicator, const TrainOptions& options, bool has_teacher, int steps = 4) {
  Taught taught(communicator);
  Teacher teacher(taught.model(), options.distil);
  ShortRun student(options, communicator);
  student.start_from(taught.run().save());
  student.trainer().learn_from(has_teacher ? &teacher : nullptr);
  Outcome outcome;
  for (int i = 0; i < steps; ++i) {
    const StepRecord& step = student.trainer().step();
    outcome.numbers.insert(outcome.numbers.end(), {step.loss, step.gradient_norm});
  }
  outcome.numbers.push_back(student.trainer().evaluate().loss);
  outcome.checkpoint = test::content_of(student.save().string());
  return outcome;
}

TEST(Distil, any_number_of_ranks_and_threads_gives_the_bits_of_one) {
  use_threads(1);
  const comm::Communicator alone = world().split(world().rank().value());
  const Outcome expected = learnt(alone, student_options(), true);
  EXPECT_GT(expected.checkpoint.size(), 10000U);
  use_threads(2);
  const Outcome got = learnt(world(), student_options(), true);
  EXPECT_EQ(got.numbers, expected.numbers);
  EXPECT_EQ(got.checkpoint, expected.checkpoint);
  use_threads(1);
  EXPECT_NE(learnt(world(), student_options(), false).numbers, expected.numbers);
}

TEST(Distil, the_teacher_pulls_as_hard_as_its_weight) {
  use_threads(1);
  const auto first = [&](double weight, double temperature) {
    TrainOptions options = student_options();
    options.distil.distil_weight = weight;
    options.distil.temperature = temperature;
    return learnt(world(), options, true, 1).numbers.front();
  };
  const double data = first(0.0, 2.0);
  EXPECT_EQ(data, first(0.0, 3.0));
  const double teacher = first(1.0, 2.0);
  EXPECT_GT(std::abs(teacher - first(1.0, 4.0)), 1e-3);
  EXPECT_GT(data - teacher, 0.5);  // a divergence has no entropy in it
  EXPECT_NEAR(first(0.3, 2.0), 0.7 * data + 0.3 * teacher, 1e-6);
  EXPECT_NEAR(data, learnt(world(), student_options(), false, 1).numbers.front(), 1e-6);
}

TEST(Distil, a_teacher_says_the_same_at_any_step_and_drops_nothing_by_chance) {
  use_threads(1);
  Taught taught(world());
  Teacher teacher(taught.model(), student_options().distil);
  PhaseTimes times;
  const Range mine = even_share(4, world().size(), world().rank().value());
  model::Step step{.number = 3,
                   .training = true,
                   .num_groups = 4,
                   .num_groups_in_pass = 4,
                   .first_group = mine.begin,
                   .groups = {mine.size(), 24},
                   .times = &times};
  std::vector<std::int32_t> tokens;
  for (Index i = 0; i < mine.size() * 24; ++i) tokens.push_back(static_cast<std::int32_t>((i * 7 + mine.begin) % 256));
  const auto said = [&] {
    const auto logits = teacher.targets(step, tokens).logits;
    return std::vector<float>(logits.flat().begin(), logits.flat().end());
  };
  const std::vector<float> before = said();
  EXPECT_EQ(std::ssize(before), mine.size() * 24 * 256);
  step.number = 4;  // another draw of the jitter, if there were one
  EXPECT_EQ(said(), before);
  EXPECT_EQ(times.seconds(Phase::attention), 0.0);  // its time is not the student's
}

TEST(Distil, a_student_begins_at_what_fits_of_its_teacher) {
  use_threads(1);
  Taught taught(world());
  ShortRun student(student_options(), world());
  const StoredTensors drawn = student.tensors();
  const StoredTensors source = taught.run().tensors();
  student.start_from(taught.run().save());
  const StoredTensors begun = student.tensors();
  for (const char* same : {"embedding", "head/weight", "final_norm"}) {
    EXPECT_EQ(begun.at(std::string("/params/") + same), source.at(std::string("/params/") + same)) << same;
  }
  // Blocks 0 and 1 of 2 are blocks 1 and 3 of 4.
  EXPECT_EQ(begun.at("/params/block/0/attention/qkv"), source.at("/params/block/1/attention/qkv"));
  EXPECT_EQ(begun.at("/params/block/1/attention/qkv"), source.at("/params/block/3/attention/qkv"));
  EXPECT_NE(begun.at("/params/block/1/attention/qkv"), drawn.at("/params/block/1/attention/qkv"));
  EXPECT_EQ(begun.at("/params/block/1/feed_forward/w1"), drawn.at("/params/block/1/feed_forward/w1"));
  TrainOptions wider = student_options();
  wider.model.width = 32;
  ShortRun other(wider, world());
  EXPECT_THROW(other.start_from(taught.run().save()), InputError);
}

TEST(Distil, what_cannot_be_is_refused) {
  const auto refusal = [](const std::function<void(TrainOptions&)>& change) -> std::string {
    TrainOptions options = student_options();
    change(options);
    try {
      validate(options);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal([](auto&) {}), "");
  EXPECT_NE(refusal([](auto& o) { o.distil.distil_weight = 1.5; }).find("distil_weight = 1.5"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.distil.temperature = 0.0; }).find("temperature = 0"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.distil.teacher = ""; }).find("without teacher"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.start.init_from = ""; }).find("init_matching without"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) {
              o.task = Task::classify;
              o.data.data = "x.tsv";
            }).find("teacher = named with task"),
            std::string::npos);
}

}  // namespace
}  // namespace conclave::train
