// SPDX-License-Identifier: BSD-3-Clause
// A step whose numbers are not finite is passed over, on any number of ranks with the same bits, whether that is done
// at once, by going back to a checkpoint, or because the run was told to from the beginning.
#include "runtime/core/parallel.hpp"
#include "runtime/train/trainer.hpp"
#include "tests/support/mpi_world.hpp"
#include "tests/train/feature_file.hpp"
#include "tests/train/poisoned_samples.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>

namespace conclave::train {
namespace {

using test::world;

/// What a run leaves: losses, norms and rates of all steps, bit by bit, and the tensors of its last checkpoint.
struct Outcome {
  std::vector<std::uint64_t> history;
  StoredTensors tensors;
};

void expect_same(const Outcome& got, const Outcome& want) {
  EXPECT_EQ(got.history, want.history);
  ASSERT_EQ(got.tensors.size(), want.tensors.size());
  for (const auto& [name, values] : want.tensors) EXPECT_EQ(got.tensors.at(name), values) << name;
}

/// How a run comes to its end.
struct Way {
  Index save_every = 0;  // steps between checkpoints; 0: none but the last
  Index cut_after = 0;   // this step, to go on with `options_after` on `after`; 0: not
  const comm::Communicator* after = nullptr;
  NotFiniteOptions options_after{};
};

class Skipping : public testing::Test {
 protected:
  Skipping() {
    use_threads(1);
    write(three_classes(120, 1), folder_.path("data.h5"));
    options_.task = Task::classify;
    options_.model.context = model::ModelOptions{}.context;
    options_.model.heads = model::ModelOptions{}.heads;
    options_.model.router.selection_bias = true;
    options_.model.router.noise = true;
    options_.model.router.jitter = 0.01;
    options_.data.data = folder_.path("data.h5");
    options_.steps = 8;
  }

  [[nodiscard]] std::unique_ptr<Trainer> trainer(const TrainOptions& options, const comm::Communicator& ranks) {
    return std::make_unique<Trainer>(options, samples(options), ranks);
  }

  /// As `conclave train` does it.
  Outcome train(TrainOptions options, const comm::Communicator& first, const Way& way = {}) {
    const comm::Communicator* ranks = &first;
    const TemporaryFolder mine(fmt::format("_run{}", num_runs_++));
    const std::string common = world().broadcast(mine.path());
    const auto enter = [&] { options.out = ranks->size() == world().size() ? common : mine.path(); };
    enter();
    std::filesystem::path last;
    std::unique_ptr<Trainer> trainer = this->trainer(options, *ranks);
    const auto start_again = [&] {
      trainer = this->trainer(options, *ranks);
      if (!last.empty()) trainer->restore(last, read_header(*ranks, last));
    };
    while (trainer->steps_done() < options.steps) {
      try {
        trainer->step();
      } catch (const NotFiniteError& error) {
        if (options.not_finite.on_nan != OnNan::rollback) throw;
        ++times_back_;
        SkippedSteps skipped = trainer->skipped();
        skipped.add(error.step(), error.what());
        start_again();
        trainer->skipped() = std::move(skipped);
        continue;
      }
      const bool is_cut = way.cut_after > 0 && trainer->steps_done() == way.cut_after && ranks == &first;
      const bool saves = way.save_every > 0 && trainer->steps_done() % way.save_every == 0;
      if (is_cut || saves) last = trainer->save({}, {});
      if (!is_cut) continue;
      world().barrier();
      ranks = way.after;
      options.not_finite = way.options_after;
      if (ranks->size() == world().size()) last = common / last.filename();
      enter();
      start_again();
    }
    Outcome outcome;
    for (const double number : trainer->history().values)
      outcome.history.push_back(std::bit_cast<std::uint64_t>(number));
    last = trainer->save({}, {});
    ranks->barrier();
    const Hdf5File file = Hdf5File::open(last);
    add_tensors(file, "/params", outcome.tensors);
    add_tensors(file, "/optimizer", outcome.tensors);
    world().barrier();
    return outcome;
  }

  TemporaryFolder folder_{"_data"};
  TrainOptions options_ = short_run_options();
  std::set<Index> poison_;
  comm::Communicator alone_ = world().split(world().rank().value());
  Index times_back_ = 0;

 private:
  const Samples& samples(const TrainOptions& options) {
    if (!sound_) sound_ = make_samples(options);
    poisoned_.push_back(std::make_unique<PoisonedSamples>(*sound_, poison_, options.sequences));
    return *poisoned_.back();
  }
  std::unique_ptr<Samples> sound_;
  std::vector<std::unique_ptr<Samples>> poisoned_;
  Index num_runs_ = 0;
};

/// One sample is on one rank: all end, in the same words as a rank that is alone.
TEST_F(Skipping, AnEvaluationWithLogitsThatAreNotFiniteEndsOnEveryRank) {
  const auto sound = make_samples(options_);
  const PoisonedSamples samples(*sound, {1}, options_.sequences, Split::validation);
  ASSERT_LT(samples.place(1), samples.num_sequences(Split::validation));
  options_.eval_sequences = 0;
  options_.out = folder_.path();
  std::vector<std::string> messages;
  for (const comm::Communicator* ranks : {static_cast<const comm::Communicator*>(&alone_), &world()}) {
    Trainer trainer(options_, samples, *ranks);
    try {
      static_cast<void>(trainer.evaluate());
      ADD_FAILURE() << "nothing was refused";
    } catch (const InputError& error) {
      messages.emplace_back(error.what());
      EXPECT_FALSE(error.hint().empty());
    }
    world().barrier();
  }
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0], messages[1]);
  EXPECT_NE(messages[0].find("the router's logits of token 7 in layer 0 are not finite"), std::string::npos)
      << messages[0];
}

NotFiniteOptions policy(OnNan on_nan, std::vector<Index> skip_steps = {}) {
  return {.on_nan = on_nan, .on_nan_limit = 3, .skip_steps = std::move(skip_steps)};
}

/// By each policy, on all ranks and alone, cut and whole: the bits are those of a run that was told.
TEST_F(Skipping, HasTheSameBitsHoweverItComesAbout) {
  const TrainOptions plain = options_;
  const std::vector<std::function<void()>> variants{
      [] {},
      [&] { options_.passes = 2, options_.optimizer.gate_every = 2; },
      [&] { options_.model.fusion = model::Fusion::vote, options_.optimizer.optimizer = "sgd"; },
      [&] {
        options_.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
        options_.model.experts.expert_rank = 2;
        options_.optimizer.freeze = {"gate"};
      },
      [&] {
        options_.model.router.router = "expert_choice";
        options_.model.router.capacity_factor = 1.5;
        options_.model.router.selection_bias = options_.model.router.noise = false;
        options_.groups = 3;  // fewer than ranks
      },
      [&] { options_.model.moe_every = 0; },
  };
  for (std::size_t v = 0; v < variants.size(); ++v) {
    SCOPED_TRACE(fmt::format("variant {}", v));
    options_ = plain;
    variants[v]();
    ASSERT_NO_THROW(validate(options_));
    poison_ = {};
    const Outcome sound = train(options_, alone_);
    TrainOptions told = options_;
    told.not_finite = policy(OnNan::stop, {3, 4, 6});
    const Outcome reference = train(told, alone_);
    ASSERT_NE(reference.tensors, sound.tensors);
    expect_same(train(told, world()), reference);

    poison_ = {3, 4, 6};
    options_.not_finite = policy(OnNan::skip);
    expect_same(train(options_, alone_), reference);
    expect_same(train(options_, world()), reference);
    for (const Index cut : {2, 3, 5}) {
      expect_same(train(options_, world(), {0, cut, &alone_, policy(OnNan::skip)}), reference);
      expect_same(train(options_, alone_, {0, cut, &world(), policy(OnNan::rollback)}), reference);
    }
    options_.not_finite = policy(OnNan::rollback);
    times_back_ = 0;
    expect_same(train(options_, world(), {.save_every = 2}), reference);
    expect_same(train(options_, world()), reference);
    EXPECT_EQ(times_back_, 6);
  }
}

// From a checkpoint that was written between the one that the run went back to and the step.
TEST_F(Skipping, IsKnownToTheCheckpointsBeforeTheStep) {
  TrainOptions told = options_;
  told.not_finite = policy(OnNan::stop, {5});
  const Outcome reference = train(told, alone_);
  poison_ = {5};
  options_.not_finite = policy(OnNan::rollback);
  // At 3 first, on the way to 5; then, back from 5 to the beginning, with the knowledge of 5.
  const auto first = trainer(options_, world());
  for (Index i = 0; i < 4; ++i) first->step();
  std::string message;
  try {
    first->step();
  } catch (const NotFiniteError& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("step 5: "), std::string::npos) << message;
  const TemporaryFolder mine("_again");
  options_.out = world().broadcast(mine.path());
  const auto second = trainer(options_, world());
  second->skipped().add(5, message);
  for (Index i = 0; i < 3; ++i) second->step();
  const auto file = second->save({}, {});
  options_.not_finite = {};
  const auto resumed = trainer(options_, world());
  resumed->restore(file, read_header(world(), file));
  for (Index i = 3; i < options_.steps; ++i) EXPECT_EQ(resumed->step().skipped.empty(), i != 4);
  Outcome outcome;
  const Hdf5File last = Hdf5File::open(world().broadcast(resumed->save({}, {}).string()));
  add_tensors(last, "/params", outcome.tensors);
  for (const auto& [name, values] : outcome.tensors) EXPECT_EQ(values, reference.tensors.at(name)) << name;
  world().barrier();
}

TEST_F(Skipping, ChangesNothingAndSaysWhy) {
  poison_ = {2};
  options_.not_finite = policy(OnNan::skip);
  const TemporaryFolder mine;
  options_.out = world().broadcast(mine.path());
  const auto run = trainer(options_, world());
  const auto tensors = [&] {
    StoredTensors all;
    const Hdf5File file = Hdf5File::open(world().broadcast(run->save({}, {}).string()));
    add_tensors(file, "/params", all);
    add_tensors(file, "/optimizer", all);
    world().barrier();
    return all;
  };
  EXPECT_EQ(run->step().skipped, "");
  const StoredTensors before = tensors();
  const StepRecord record = run->step([] { return Index{7}; });
  EXPECT_EQ(tensors(), before);
  EXPECT_EQ(record.step, 2);
  EXPECT_EQ(record.tokens, 0);
  EXPECT_EQ(record.request.what, 7);
  EXPECT_TRUE(std::isnan(record.loss));
  EXPECT_EQ(record.drop_rate(), 0.0);
  ASSERT_EQ(record.layers.size(), 2U);
  EXPECT_EQ(record.layers[1].claims(), 0);
  ASSERT_EQ(PoisonedSamples(*make_samples(options_), poison_, 12).place(2), 0);
  const std::string expected =
      "step 2: the router's logits of token 0 in layer 0 are not finite; the loss of group 0 is not finite; the "
      "gradient "
      "of layer 1, expert ";
  EXPECT_EQ(record.skipped.substr(0, expected.size()), expected);
  for (const std::string& of_rank : world().gather_all(record.skipped)) EXPECT_EQ(of_rank, record.skipped);
  EXPECT_EQ(trainer(options_, alone_)->step().skipped, "");
  EXPECT_EQ(run->step().skipped, "");
  EXPECT_NE(tensors(), before);
}

TEST_F(Skipping, EndsWhereTooManyStepsFollowEachOther) {
  const auto steps_until_error = [&](const std::set<Index>& poison) {
    poison_ = poison;
    options_.not_finite = policy(OnNan::skip, {5});
    const auto run = trainer(options_, world());
    try {
      while (run->steps_done() < options_.steps) run->step();
    } catch (const NotFiniteError& error) {
      EXPECT_NE(std::string(error.what()).find("on_nan_limit = 3"), std::string::npos) << error.what();
      EXPECT_EQ(error.step(), run->steps_done() + 1);
    }
    return run->steps_done();
  };
  EXPECT_EQ(steps_until_error({1, 2, 3, 6, 7, 8}), 8) << "step 4 is sound";
  EXPECT_EQ(steps_until_error({3, 4, 6, 7}), 6) << "step 5 is told to be skipped: neither sound nor found";
  EXPECT_EQ(steps_until_error({1, 2, 3, 4}), 3);
}

// AdamW's first update is of the size of the learning rate: whether the step before it was skipped must not show.
TEST_F(Skipping, DoesNotCountAsAnUpdate) {
  options_.optimizer.optimizer = "adamw";
  options_.optimizer.weight_decay = 0.0;
  options_.optimizer.schedule = Schedule::constant;
  options_.not_finite = policy(OnNan::stop, {1});
  const auto run = trainer(options_, world());
  const auto values = [&] {
    const auto all = run->model().values();
    return std::vector<float>(all.begin(), all.end());
  };
  const std::vector<float> before = values();
  run->step();
  EXPECT_EQ(values(), before);
  run->step();
  float largest = 0.0F;
  for (std::size_t i = 0; i < before.size(); ++i) largest = std::max(largest, std::abs(values()[i] - before[i]));
  EXPECT_NEAR(largest, options_.optimizer.learning_rate, 0.01 * options_.optimizer.learning_rate);
}

}  // namespace
}  // namespace conclave::train
