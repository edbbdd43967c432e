// SPDX-License-Identifier: BSD-3-Clause
// Experts of a trained model cut, added, removed and merged: what the model computes before and after, and that a run
// goes on from it, on any number of ranks.
#include "runtime/train/expert_edit.hpp"

#include "runtime/core/parallel.hpp"
#include "runtime/train/checkpoint_draft.hpp"
#include "runtime/train/start.hpp"
#include "tests/train/short_run.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace conclave::train {
namespace {

using test::world;

TrainOptions small_options() {
  TrainOptions o = short_run_options();
  o.model.experts.expert_bias = true;
  o.model.experts.expert_kind = {"gelu", "swiglu"};
  o.model.experts.expert_hidden = {16, 8};
  o.model.router.eval_capacity_factor = 0.75;  // some claims are dropped
  return o;
}

/// A few steps old, and what it computes on held-out samples.
class Edited {
 public:
  explicit Edited(TrainOptions options) : options_(std::move(options)), run_(options_, world()) {
    for (int i = 0; i < 4; ++i) run_.trainer().step();
    contents_ = read_contents(run_.save());
    world().barrier();
    loss_ = loss_of(run_);
  }
  [[nodiscard]] const CheckpointContents& contents() const { return contents_; }
  [[nodiscard]] const model::ModelOptions& model() const { return options_.model; }
  [[nodiscard]] double loss() const { return loss_; }

  [[nodiscard]] CheckpointContents after(const ExpertEdit& edit) const {
    CheckpointContents contents = contents_;
    apply(edit, contents);
    return contents;
  }
  /// The loss of a run that goes on from these contents, before its next step, which it then does.
  [[nodiscard]] double loss_from(const CheckpointContents& contents, const model::ModelOptions& model) const {
    TrainOptions options = options_;
    options.model = model;
    validate(options);
    ShortRun run(options, world());
    CheckpointContents own = contents;
    std::vector<TensorPart> parts = parts_of(own.tensors);
    for (TensorPart& part : parts) {
      if (!world().is_root()) part.held = {};
    }
    const auto file = write_checkpoint(world(), run.trainer().options().out, 4, {}, own.header, parts);
    run.trainer().restore(file, own.header);
    const double loss = loss_of(run);
    EXPECT_TRUE(std::isfinite(run.trainer().step().loss));
    return loss;
  }
  [[nodiscard]] double loss_after(const ExpertEdit& edit) const {
    return loss_from(after(edit), edited_options(edit, model()));
  }

 private:
  static double loss_of(ShortRun& run) { return run.trainer().evaluate(Split::validation, 24).loss; }
  TrainOptions options_;
  ShortRun run_;
  CheckpointContents contents_;
  double loss_ = 0.0;
};

constexpr double rounding = 2e-6;  // of a loss of about 5 nats, in float32
constexpr double change = 1e-4;    // that is none of rounding

TEST(ExpertEdit, cut_experts_compute_the_same) {
  use_threads(1);
  using gating::Normalise;
  using gating::Scorer;
  std::vector<TrainOptions> all;
  for (const Scorer scorer : {Scorer::softmax, Scorer::sigmoid}) {
    for (const Normalise normalise : {Normalise::none, Normalise::selected, Normalise::kept}) {
      all.push_back(small_options());
      all.back().model.router.scorer = scorer;
      all.back().model.router.normalise = normalise;
    }
    all.push_back(small_options());
    all.back().model.router.scorer = scorer;
    all.back().model.router.router = "expert_choice";
    all.back().model.router.capacity_factor = 1.0;
  }
  for (const char* router : {"round_robin", "least_loaded"}) {
    all.push_back(small_options());
    all.back().model.router.router = router;
  }
  all.push_back(small_options());
  all.back().model.fusion = model::Fusion::mean;
  all.push_back(small_options());
  all.back().model.router.selection_bias = true;
  for (const TrainOptions& options : all) {
    SCOPED_TRACE(fmt::format("{} {} {}", options.model.router.router, name_of(options.model.router.scorer),
                             name_of(options.model.router.normalise)));
    const Edited run(options);
    for (const Index parts : {2, 4}) {
      const ExpertEdit edit = cut_experts(run.model(), parts);
      EXPECT_TRUE(changes_of(edit, run.model()).empty());
      const model::ModelOptions after = edited_options(edit, run.model());
      EXPECT_EQ(after.router.experts, 4 * parts);
      EXPECT_EQ(after.router.top_k, 2 * parts);
      EXPECT_NEAR(run.loss_after(edit), run.loss(), rounding);
    }
  }
}

// What these tests compare would notice a cut without its other half.
TEST(ExpertEdit, cut_experts_that_are_not_chosen_more_often_compute_something_else) {
  use_threads(1);
  const Edited run(small_options());
  const ExpertEdit edit = cut_experts(run.model(), 2);
  model::ModelOptions after = edited_options(edit, run.model());
  after.router.top_k = 2;
  EXPECT_GT(std::abs(run.loss_from(run.after(edit), after) - run.loss()), change);
}

TEST(ExpertEdit, cut_experts_keep_their_state) {
  use_threads(1);
  const Edited run(small_options());
  const CheckpointContents after = run.after(cut_experts(run.model(), 2));
  const auto value = [](const CheckpointContents& of, const std::string& name, std::size_t at) {
    return of.tensors.at(name).values.at(at);
  };
  const std::string expert = "block/1/moe/expert/";
  // Expert 0: w2 [24, 16]; the second part of it begins at the ninth column.
  for (const auto& [group, factor] : {std::pair{"/params/", 2.0F}, {"/optimizer/m/", 0.5F}, {"/optimizer/v/", 0.25F}}) {
    const float whole = value(run.contents(), group + expert + "0000/w2", 16 + 8 + 3);
    EXPECT_NE(whole, 0.0F);
    EXPECT_EQ(value(after, group + expert + "0001/w2", 8 + 3), whole * factor) << group;
    EXPECT_EQ(value(after, group + expert + "0001/w1", 5),
              value(run.contents(), group + expert + "0000/w1", 8 * 24 + 5));
    EXPECT_EQ(after.tensors.at(group + std::string("block/1/moe/router_weight")).shape, (std::vector<Index>{8, 24}));
  }
  EXPECT_EQ(model_options(after.header).experts.expert_hidden, (std::vector<Index>{8, 8, 4, 4}));
}

TEST(ExpertEdit, added_experts_wait_or_compete) {
  use_threads(1);
  const Edited run(small_options());
  const ExpertsOfLayers copied{{ExpertId{0}, ExpertId{3}}, {ExpertId{1}, ExpertId{2}}};
  const ExpertEdit waiting = add_experts(run.model(), {copied[0], copied[0]}, -20.0);
  EXPECT_TRUE(changes_of(waiting, run.model()).empty());
  EXPECT_NEAR(run.loss_after(waiting), run.loss(), rounding);
  const CheckpointContents after = run.after(waiting);
  EXPECT_EQ(after.tensors.at("/params/block/0/moe/expert/0005/w1"),
            run.contents().tensors.at("/params/block/0/moe/expert/0003/w1"));
  for (const float m : after.tensors.at("/optimizer/m/block/0/moe/expert/0005/w1").values) EXPECT_EQ(m, 0.0F);
  const ExpertEdit competing = add_experts(run.model(), {copied[0], copied[0]}, 0.0);
  EXPECT_FALSE(changes_of(competing, run.model()).empty());
  EXPECT_GT(std::abs(run.loss_after(competing) - run.loss()), change);
  // Experts of other sizes in other layers are none of a model.
  EXPECT_THROW(static_cast<void>(edited_options(add_experts(run.model(), copied, -20.0), run.model())), InputError);
}

TEST(ExpertEdit, of_equals_the_first_is_chosen) {
  use_threads(1);
  TrainOptions options = small_options();
  options.model.router.top_k = 1;
  const Edited run(options);
  const ExpertEdit twins = add_experts(run.model(), {{ExpertId{1}}, {ExpertId{1}}}, 0.0);
  EXPECT_TRUE(changes_of(twins, run.model()).empty());
  EXPECT_NEAR(run.loss_after(twins), run.loss(), rounding);
}

TEST(ExpertEdit, added_experts_can_be_removed) {
  use_threads(1);
  const Edited run(small_options());
  const ExpertEdit more = add_experts(run.model(), {{ExpertId{0}}, {ExpertId{0}}}, -20.0);
  CheckpointContents contents = run.after(more);
  const model::ModelOptions grown = edited_options(more, run.model());
  apply(remove_experts(grown, {{ExpertId{4}}, {ExpertId{4}}}), contents);
  for (const auto& [name, tensor] : run.contents().tensors) EXPECT_EQ(contents.tensors.at(name), tensor) << name;
  const ExpertEdit fewer = remove_experts(run.model(), {{ExpertId{1}}, {ExpertId{3}}});
  EXPECT_FALSE(changes_of(fewer, run.model()).empty());
  EXPECT_THROW(static_cast<void>(edited_options(fewer, run.model())), InputError);  // their kinds differ
}

TEST(ExpertEdit, merged_experts_are_their_mean_with_hidden_units_matched) {
  use_threads(1);
  TrainOptions options = small_options();
  options.model.experts.expert_kind = {"swiglu"};
  options.model.experts.expert_hidden = {16};
  const Edited run(options);
  // Expert 2 becomes expert 0 with its hidden units in another order.
  CheckpointContents contents = run.contents();
  for (const std::string name : {"w1", "w3", "w2", "b1", "b3", "b2"}) {
    const std::string prefix = "/params/block/0/moe/expert/";
    const WholeTensor& from = contents.tensors.at(prefix + "0000/" + name);
    WholeTensor& to = contents.tensors.at(prefix + "0002/" + name);
    for (Index unit = 0; unit < 16; ++unit) {
      const Index other = (unit * 5 + 3) % 16;
      for (Index k = 0; k < (name[0] == 'w' ? 24 : 1); ++k) {
        const auto at = [&](Index u) {
          return static_cast<std::size_t>(name == "w2" ? k * 16 + u : u * (name[0] == 'w' ? 24 : 1) + k);
        };
        if (name != "b2") to.values[at(other)] = from.values[at(unit)];
      }
    }
    if (name == "b2") to = from;
  }
  const CheckpointContents before = contents;
  const ExpertEdit edit = merge_experts(run.model(), {{ExpertId{0}, ExpertId{2}}, {ExpertId{1}, ExpertId{3}}});
  EXPECT_FALSE(changes_of(edit, run.model()).empty());
  apply(edit, contents);
  for (const char* name : {"w1", "w2", "w3", "b1", "b2", "b3"}) {
    const std::string expert = std::string("/params/block/0/moe/expert/0000/") + name;
    EXPECT_EQ(contents.tensors.at(expert), before.tensors.at(expert)) << name;
  }
  EXPECT_EQ(contents.tensors.at("/params/block/0/moe/expert/0001/w1"),
            before.tensors.at("/params/block/0/moe/expert/0001/w1"));
  EXPECT_EQ(contents.tensors.at("/params/block/0/moe/expert/0002/w1"),
            before.tensors.at("/params/block/0/moe/expert/0003/w1"));
  EXPECT_TRUE(std::isfinite(run.loss_from(contents, edited_options(edit, run.model()))));
}

TEST(ExpertEdit, several_experts_become_one_by_their_shares) {
  use_threads(1);
  TrainOptions options = small_options();
  options.model.experts.expert_kind = {"gelu"};
  options.model.experts.expert_hidden = {16};
  const Edited run(options);
  // In layer 0 expert 0 takes 2 and 3 in, one of which has no share; in layer 1 there are two pairs.
  const std::vector<std::vector<ExpertOrigin>> merged{
      {{{ExpertId{0}, ExpertId{2}, ExpertId{3}}, {0.25, 0.75, 0.0}}},
      {{{ExpertId{1}, ExpertId{0}}, {1.0, 0.0}}, {{ExpertId{2}, ExpertId{3}}, {0.0, 1.0}}}};
  const ExpertEdit edit = merge_experts(run.model(), merged);
  ASSERT_EQ(edit.num_experts(), 2);
  const CheckpointContents after = run.after(edit);
  const auto before = [&](const std::string& name) {
    return run.contents().tensors.at("/params/block/" + name).values;
  };
  const auto now = [&](const std::string& name) { return after.tensors.at("/params/block/" + name).values; };
  // Outputs have their places, whatever the order of hidden units: their biases, and the routing rows.
  const std::vector<float> b = before("0/moe/expert/0000/b2");
  const std::vector<float> other = before("0/moe/expert/0002/b2");
  const std::vector<float> rows = before("0/moe/router_weight");
  ASSERT_NE(b, other);
  for (std::size_t i = 0; i < b.size(); ++i) {
    EXPECT_NEAR(now("0/moe/expert/0000/b2")[i], 0.25F * b[i] + 0.75F * other[i], 1e-7F) << i;
    EXPECT_NEAR(now("0/moe/router_weight")[i], 0.25F * rows[i] + 0.75F * rows[2 * b.size() + i], 1e-7F) << i;
  }
  // A share of 1 leaves an expert what it is, in the order of its own hidden units only where it comes first.
  EXPECT_EQ(now("1/moe/expert/0000/w1"), before("1/moe/expert/0001/w1"));
  std::vector<float> taken = now("1/moe/expert/0001/w1");
  std::vector<float> whole = before("1/moe/expert/0003/w1");
  EXPECT_EQ(now("1/moe/expert/0001/b2"), before("1/moe/expert/0003/b2"));
  std::ranges::sort(taken);
  std::ranges::sort(whole);
  EXPECT_EQ(taken, whole);
  EXPECT_TRUE(std::isfinite(run.loss_after(edit)));
}

TEST(ExpertEdit, the_smallest_weights_of_each_expert_become_zero) {
  WholeTensors tensors{{"/params/block/0/moe/expert/0000/w1", {{2, 2}, {4.0F, -1.0F, 3.0F, 2.0F}}},
                       {"/params/block/0/moe/expert/0000/w2", {{2, 2}, {-8.0F, 0.5F, 2.0F, 9.0F}}},
                       {"/params/block/0/moe/expert/0000/b2", {{2}, {0.1F, 0.2F}}},
                       {"/params/block/0/moe/expert/0001/w1", {{1, 2}, {100.0F, -50.0F}}},
                       {"/optimizer/m/block/0/moe/expert/0000/w1", {{2, 2}, {1.0F, 1.0F, 1.0F, 1.0F}}},
                       {"/params/block/0/moe/router_weight", {{2, 2}, {0.1F, 0.1F, 0.1F, 0.1F}}}};
  WholeTensors expected = tensors;
  expected["/params/block/0/moe/expert/0000/w1"].values = {4.0F, 0.0F, 3.0F, 0.0F};  // the first of two equals
  expected["/params/block/0/moe/expert/0000/w2"].values = {-8.0F, 0.0F, 2.0F, 9.0F};
  zero_smallest_weights(0.4, tensors);  // 3.2 of 8, 0.8 of 2
  EXPECT_EQ(tensors, expected);
}

TEST(ExpertEdit, what_cannot_be_is_refused) {
  const model::ModelOptions o = small_options().model;
  const auto is_refused = [](const std::function<void()>& work) { EXPECT_THROW(work(), InputError); };
  is_refused([&] { static_cast<void>(cut_experts(o, 3)); });
  is_refused([&] { static_cast<void>(cut_experts(o, 1)); });
  is_refused([&] { static_cast<void>(remove_experts(o, {{ExpertId{4}}, {ExpertId{0}}})); });
  is_refused([&] { static_cast<void>(remove_experts(o, {{ExpertId{1}}, {}})); });
  is_refused([&] { static_cast<void>(remove_experts(o, {{ExpertId{1}}})); });
  is_refused([&] {
    static_cast<void>(
        remove_experts(o, {{ExpertId{0}, ExpertId{1}, ExpertId{2}}, {ExpertId{0}, ExpertId{1}, ExpertId{2}}}));
  });
  is_refused([&] { static_cast<void>(merge_experts(o, {{ExpertId{1}, ExpertId{1}}, {ExpertId{0}, ExpertId{1}}})); });
  // More in one layer than in the other; one of them twice.
  const ExpertOrigin pair{{ExpertId{0}, ExpertId{2}}, {0.5, 0.5}};
  const ExpertOrigin next{{ExpertId{1}, ExpertId{3}}, {0.5, 0.5}};
  const ExpertOrigin again{{ExpertId{3}, ExpertId{0}}, {0.5, 0.5}};
  is_refused([&] { static_cast<void>(merge_experts(o, {{pair, next}, {pair}})); });
  is_refused([&] { static_cast<void>(merge_experts(o, {{pair, again}, {pair, next}})); });
  model::ModelOptions rules = o;
  rules.router.router = "rule";
  is_refused([&] { static_cast<void>(cut_experts(rules, 2)); });
  model::ModelOptions shared = o;
  shared.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  is_refused([&] { static_cast<void>(cut_experts(shared, 2)); });
}

}  // namespace
}  // namespace conclave::train
