// SPDX-License-Identifier: BSD-3-Clause
// What is frozen, or rests in a step, stays bit by bit, with its optimizer state; everything else moves.
#include "runtime/core/parallel.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::train {
namespace {

using test::world;

/// By a tensor's name: an account of its own of what belongs where.
ModelPart part_named(const std::string& name) {
  if (name.find("/moe/") == std::string::npos) return ModelPart::dense;
  for (const char* of_experts : {"/expert/", "/shared/", "/base/"}) {
    if (name.find(of_experts) != std::string::npos) return ModelPart::experts;
  }
  return ModelPart::gate;
}

/// Tensors of each part that changed from one state to another, and that did not.
struct Changes {
  std::map<ModelPart, Index> moved, stayed;
  Changes(const StoredTensors& before, const StoredTensors& after) {
    EXPECT_EQ(before.size(), after.size());
    for (const auto& [name, values] : before) ++(after.at(name) == values ? stayed : moved)[part_named(name)];
  }
};

/// Expects exactly these parts to have moved, with all of their tensors.
void expect_moved(const Changes& changes, const std::vector<ModelPart>& parts) {
  for (const auto& entry : enum_names(ModelPart{})) {
    const bool moves = std::ranges::find(parts, entry.value) != parts.end();
    const auto count = [&](const std::map<ModelPart, Index>& of) {
      const auto found = of.find(entry.value);
      return found == of.end() ? 0 : found->second;
    };
    EXPECT_EQ(count(moves ? changes.stayed : changes.moved), 0) << entry.name;
    EXPECT_GT(count(moves ? changes.moved : changes.stayed), 5) << entry.name;
  }
}

TrainOptions all_parts() {
  TrainOptions o = short_run_options();
  o.model.moe_every = 2;
  o.model.layers = 4;
  o.model.router.selection_bias = true;
  o.model.router.router_bias = true;
  o.model.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  o.model.experts.expert_rank = 2;
  o.model.experts.shared_experts = 1;
  o.model.experts.shared_hidden = 16;
  return o;
}

const std::vector<std::pair<std::string, std::vector<ModelPart>>> cases{
    {"", {ModelPart::gate, ModelPart::experts, ModelPart::dense}},
    {"gate", {ModelPart::experts, ModelPart::dense}},
    {"experts", {ModelPart::gate, ModelPart::dense}},
    {"dense", {ModelPart::gate, ModelPart::experts}},
    {"experts,gate", {ModelPart::dense}},
    {"gate,dense", {ModelPart::experts}},
};

void assign(TrainOptions& options, const std::string& name, const std::string& text) {
  OptionTable table;
  describe(options.optimizer, table);
  table.assign(name, text);
}

TEST(MovingParts, AreAllButTheFrozenOnes) {
  use_threads(1);
  for (const auto& [frozen, moving] : cases) {
    SCOPED_TRACE("freeze = " + frozen);
    TrainOptions options = all_parts();
    if (!frozen.empty()) assign(options, "freeze", frozen);
    validate(options);
    ShortRun run(options, world());
    run.trainer().step();  // a delta begins as zero, and so does its B's gradient: it moves from the second step on
    const StoredTensors before = run.tensors();
    run.trainer().step();
    expect_moved(Changes(before, run.tensors()), moving);
  }
}

// With nothing but a base and deltas frozen, and everything but.
TEST(MovingParts, TheNormIsOfWhatMoves) {
  use_threads(1);
  const auto norm = [](const std::string& frozen) {
    TrainOptions options = all_parts();
    if (!frozen.empty()) assign(options, "freeze", frozen);
    return ShortRun(options, world()).trainer().step().gradient_norm;
  };
  const double all = norm("");
  double sum = 0.0;
  for (const char* others : {"gate,experts", "gate,dense", "experts,dense"}) {
    const double one = norm(others);
    EXPECT_GT(one, 1e-6) << others;
    EXPECT_LT(one, all) << others;
    sum += one * one;
  }
  EXPECT_NEAR(std::sqrt(sum), all, 1e-12 * all);
  TrainOptions resting = all_parts();
  assign(resting, "gate_every", "2");
  EXPECT_EQ(ShortRun(resting, world()).trainer().step().gradient_norm, norm("gate"));
}

TEST(MovingParts, TheGateMovesInEveryThirdStepAlsoAfterAResume) {
  use_threads(1);
  TrainOptions options = all_parts();
  assign(options, "gate_every", "3");
  std::optional<ShortRun> run;
  run.emplace(options, world());
  StoredTensors before = run->tensors();
  for (Index step = 1; step <= 7; ++step) {
    SCOPED_TRACE(fmt::format("step {}", step));
    if (step == 5) {
      const auto file = run->save();
      ShortRun next(options, world());
      next.trainer().restore(file, read_header(world(), file));
      EXPECT_EQ(next.tensors(), before);
      next.trainer().step();
      before = next.tensors();
      run->trainer().step();
      EXPECT_EQ(run->tensors(), before);
      continue;
    }
    run->trainer().step();
    StoredTensors after = run->tensors();
    std::vector<ModelPart> moving{ModelPart::experts, ModelPart::dense};
    if (step % 3 == 0) moving.push_back(ModelPart::gate);
    if (step > 1) expect_moved(Changes(before, after), moving);
    before = std::move(after);
  }
}

// AdamW's first update of a weight is about the learning rate, whenever it comes: the mean is freed of its bias by the
// number of updates, not of steps.
TEST(MovingParts, ARestingGateBeginsWithAWholeFirstUpdate) {
  use_threads(1);
  TrainOptions options = all_parts();
  options.optimizer.schedule = Schedule::constant;
  options.optimizer.weight_decay = 0.0;
  assign(options, "gate_every", "3");
  ShortRun run(options, world());
  const StoredTensors before = run.tensors();
  for (int i = 0; i < 3; ++i) run.trainer().step();
  const StoredTensors after = run.tensors();
  Index num_whole = 0;
  Index num_all = 0;
  for (const auto& [name, values] : before) {
    if (part_named(name) != ModelPart::gate || name.ends_with("bias") || !name.starts_with("/params")) continue;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double change = std::abs(static_cast<double>(after.at(name)[i]) - values[i]);
      EXPECT_LT(change, 1.001 * options.optimizer.learning_rate);
      num_whole += change > 0.99 * options.optimizer.learning_rate ? 1 : 0;
      ++num_all;
    }
  }
  EXPECT_GT(num_all, 100);
  EXPECT_GT(num_whole, num_all * 9 / 10);
}

TEST(MovingParts, AModelWithoutOtherPartsIsRefusedOnAllRanks) {
  TrainOptions options = all_parts();
  options.model.moe_every = 0;
  for (const auto& [frozen, accepted] : {std::pair{"gate,experts", true}, std::pair{"dense", false}}) {
    assign(options, "freeze", frozen);
    validate(options);
    bool is_accepted = true;
    try {
      ShortRun run(options, world());
    } catch (const InputError& error) {
      is_accepted = false;
      EXPECT_EQ(std::string(error.what()), "freeze = dense leaves nothing of this model to train");
    }
    EXPECT_EQ(is_accepted, accepted) << frozen;
  }
}

TEST(SharedBase, IsCountedAndStoredOnce) {
  ShortRun run(all_parts(), world());
  Index size = 0;
  Index num_bases = 0;
  for (const auto& [name, values] : run.tensors()) {
    if (!name.starts_with("/params/") || name.ends_with("selection_bias")) continue;
    size += std::ssize(values);
    num_bases += name.find("/base/") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(num_bases, 4) << "w1 and w2 of two layers";
  EXPECT_EQ(run.trainer().model().num_parameters(), size);
}

}  // namespace
}  // namespace conclave::train
