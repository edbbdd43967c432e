// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace conclave::model {
namespace {

using testing::HasSubstr;

/// A change to the default options that makes them impossible, and what the error has to name.
struct Refusal {
  std::string name;
  std::function<void(ModelOptions&)> change;
  std::string message;
  std::string hint;
  ModelKind kind = ModelKind::language;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

const std::vector<Refusal>& refusals() {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  static const std::vector<Refusal> all{
      {"layers", [](auto& o) { o.layers = 0; }, "layers = 0", "at least 1"},
      {"width", [](auto& o) { o.width = -4; }, "width = -4", "at least 1"},
      {"heads", [](auto& o) { o.heads = 0; }, "heads = 0", "at least 1"},
      {"context", [](auto& o) { o.context = 0; }, "context = 0", "at least 1"},
      {"heads_do_not_divide", [](auto& o) { o.heads = 3; }, "width = 128 with heads = 3", "multiple of 2 x heads"},
      {"odd_heads", [](auto& o) { o.width = 12; }, "width = 12 with heads = 4", "multiple of 2 x heads"},
      {"heads_above_width", [](auto& o) { o.heads = 256; }, "width = 128 with heads = 256", "multiple of 2 x heads"},
      {"moe_every_negative", [](auto& o) { o.moe_every = -1; }, "moe_every = -1 with layers = 4", "0 for a model"},
      {"moe_every_beyond", [](auto& o) { o.moe_every = 5; }, "moe_every = 5 with layers = 4", "number of layers"},
      {"dense_hidden",
       [](auto& o) {
         o.moe_every = 2;
         o.dense_hidden = 0;
       },
       "dense_hidden = 0", "at least 1"},
      {"dense_hidden_of_all",
       [](auto& o) {
         o.moe_every = 0;
         o.dense_hidden = -1;
       },
       "dense_hidden = -1", "at least 1"},
      {"experts", [](auto& o) { o.router.experts = 0; }, "experts = 0", "at least 1 expert"},
      {"top_k", [](auto& o) { o.router.top_k = 0; }, "top_k = 0", "between 1 and all"},
      {"top_k_above_experts", [](auto& o) { o.router.top_k = 9; }, "top_k = 9 with experts = 8", "between 1 and all"},
      {"blocks", [](auto& o) { o.router.blocks = 3; }, "blocks = 3 with experts = 8", "divide"},
      {"no_blocks", [](auto& o) { o.router.blocks = 0; }, "blocks = 0", "divide"},
      {"blocks_kept", [](auto& o) { o.router.blocks_kept = 2; }, "blocks_kept = 2 with blocks = 1",
       "all of the blocks"},
      {"blocks_too_small",
       [](auto& o) {
         o.router.blocks = 8;
         o.router.blocks_kept = 1;
       },
       "top_k = 2, but the 1 kept blocks hold only 1 experts", "keep more blocks"},
      {"jitter", [](auto& o) { o.router.jitter = 1.0; }, "jitter = 1", "[0, 1)"},
      {"jitter_nan", [](auto& o) { o.router.jitter = nan; }, "jitter = nan", "[0, 1)"},
      {"capacity", [](auto& o) { o.router.capacity_factor = -1.0; }, "capacity_factor = -1", "0 or more"},
      {"eval_capacity", [](auto& o) { o.router.eval_capacity_factor = nan; }, "eval_capacity_factor = nan",
       "0 or more"},
      {"min_capacity", [](auto& o) { o.router.min_capacity = -2; }, "min_capacity = -2", "0 or more"},
      {"gate_scale", [](auto& o) { o.router.gate_scale = 0.0; }, "gate_scale = 0", "other than 0"},
      {"c_balance", [](auto& o) { o.router.c_balance = -0.5; }, "c_balance = -0.5", "0 or more"},
      {"c_z", [](auto& o) { o.router.c_z = nan; }, "c_z = nan", "0 or more"},
      {"c_importance", [](auto& o) { o.router.c_importance = -1.0; }, "c_importance = -1", "0 or more"},
      {"bias_rate", [](auto& o) { o.router.bias_rate = -1.0; }, "bias_rate = -1", "0 or more"},
      {"router", [](auto& o) { o.router.router = "topq"; }, "no router 'topq'", "topk"},
      {"kind",
       [](auto& o) {
         o.experts.expert_kind = {"gelu", "rely"};
       },
       "no expert kind 'rely'", "relu"},
      {"no_kinds", [](auto& o) { o.experts.expert_kind.clear(); }, "expert_kind is an empty list", "at least one"},
      {"hidden",
       [](auto& o) {
         o.experts.expert_hidden = {4, 0};
       },
       "expert_hidden has 0", "at least 1"},
      {"no_hidden", [](auto& o) { o.experts.expert_hidden.clear(); }, "expert_hidden is an empty list", "at least one"},
      {"shared", [](auto& o) { o.experts.shared_experts = -1; }, "shared_experts = -1", "0 or more"},
      {"shared_hidden",
       [](auto& o) {
         o.experts.shared_experts = 1;
         o.experts.shared_hidden = 0;
       },
       "shared_hidden = 0", "at least 1"},
      {"vote_of_words", [](auto& o) { o.fusion = Fusion::vote; }, "fusion = vote with task = lm", "task = classify"},
      {"map_of_words", [](auto& o) { o.input_map = false; }, "input_map = no with text", "feature vectors"},
      {"words_without_residual", [](auto& o) { o.residual = false; }, "residual = no with text", "feature vectors"},
      {"texts_without_residual", [](auto& o) { o.residual = false; }, "residual = no with text", "feature vectors",
       ModelKind::text_classifier},
      {"tied_classes", [](auto& o) { o.tied_head = true; }, "tied_head = yes with task = classify", "leave it out",
       ModelKind::text_classifier},
      {"vote_of_a_dense_block",
       [](auto& o) {
         o.fusion = Fusion::vote;
         o.moe_every = 3;
       },
       "fusion = vote with layers = 4 and moe_every = 3", "moe_every divides layers", ModelKind::text_classifier},
      {"vote_of_nobody",
       [](auto& o) {
         o.fusion = Fusion::vote;
         o.moe_every = 0;
       },
       "moe_every = 0", "must be an MoE layer", ModelKind::feature_classifier},
      {"votes_against",
       [](auto& o) {
         o.fusion = Fusion::vote;
         o.router.gate_scale = -1.0;
       },
       "fusion = vote with gate_scale = -1", "above 0", ModelKind::feature_classifier},
      {"context_of_features", [](auto& o) { o.context = 32; }, "context = 32 with feature vectors", "leave context out",
       ModelKind::feature_classifier},
      {"heads_of_features", [](auto& o) { o.heads = 2; }, "heads = 2 with feature vectors", "leave heads out",
       ModelKind::feature_classifier},
      {"tied_features", [](auto& o) { o.tied_head = true; }, "tied_head = yes", "leave it out",
       ModelKind::feature_classifier},
  };
  return all;
}

class ImpossibleModel : public testing::TestWithParam<Refusal> {};

TEST_P(ImpossibleModel, IsRefusedWithTheValuesAndTheRemedy) {
  ModelOptions options;
  ASSERT_NO_THROW(validate(options, GetParam().kind));
  GetParam().change(options);
  try {
    validate(options, GetParam().kind);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
    EXPECT_THAT(error.hint(), HasSubstr(GetParam().hint));
  }
}

INSTANTIATE_TEST_SUITE_P(Each, ImpossibleModel, testing::ValuesIn(refusals()),
                         [](const auto& instance) { return instance.param.name; });

// What no block of the model uses is not asked about.
TEST(ModelOptions, WithoutExpertsTheirOptionsDoNotMatter) {
  ModelOptions options;
  options.moe_every = 0;
  options.router.top_k = 99;
  options.experts.expert_hidden = {0};
  EXPECT_NO_THROW(validate(options));
}

TEST(ModelOptions, WithoutDenseBlocksOrHiddenLayersTheirWidthDoesNotMatter) {
  ModelOptions options;
  options.dense_hidden = 0;
  EXPECT_NO_THROW(validate(options));
  options.moe_every = 2;
  options.dense_kind = experts::ExpertKind::linear;
  EXPECT_NO_THROW(validate(options));
}

TEST(ModelOptions, TheLargestAndTheSmallestChoicesAreValid) {
  ModelOptions options;
  options.moe_every = options.layers;
  options.router.top_k = options.router.experts;
  EXPECT_NO_THROW(validate(options));
  options.layers = options.moe_every = options.heads = options.context = 1;
  options.width = 2;
  options.router.experts = options.router.top_k = 1;
  EXPECT_NO_THROW(validate(options));
}

// Feature vectors have no attention, so any width will do.
TEST(ModelOptions, AClassifiersChoicesAreValid) {
  ModelOptions options;
  options.fusion = Fusion::vote;
  EXPECT_NO_THROW(validate(options, ModelKind::text_classifier));
  options.width = 13;
  options.input_map = false;
  options.residual = false;
  EXPECT_NO_THROW(validate(options, ModelKind::feature_classifier));
  EXPECT_THROW(validate(options, ModelKind::text_classifier), InputError);
  EXPECT_DOUBLE_EQ(residual_scale(options), 1.0);
}

TEST(ModelOptions, ExpertsVoteInTheLastBlockOnly) {
  ModelOptions options;
  options.fusion = Fusion::vote;
  EXPECT_EQ(moe_shape(options, 0).fusion, Fusion::weighted);
  EXPECT_EQ(moe_shape(options, 2).fusion, Fusion::weighted);
  EXPECT_EQ(moe_shape(options, 3).fusion, Fusion::vote);
  options.fusion = Fusion::max;
  EXPECT_EQ(moe_shape(options, 0).fusion, Fusion::max);
}

TEST(ModelOptions, EveryNthBlockIsMoe) {
  ModelOptions options;
  const auto blocks = [&](Index every) {
    options.moe_every = every;
    std::vector<Index> result;
    for (Index b = 0; b < 6; ++b) {
      if (options.is_moe(b)) result.push_back(b);
    }
    return result;
  };
  EXPECT_EQ(blocks(0), (std::vector<Index>{}));
  EXPECT_EQ(blocks(1), (std::vector<Index>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(blocks(2), (std::vector<Index>{1, 3, 5}));
  EXPECT_EQ(blocks(4), (std::vector<Index>{3}));
}

TEST(ModelOptions, ListsOfKindsAndWidthsAreRepeatedOverTheExperts) {
  using experts::ExpertKind;
  ModelOptions options;
  options.layers = 8;
  options.width = 16;
  options.router.experts = 5;
  options.experts = {{"swiglu", "relu"}, {8, 16, 24}, true, 2, 40};
  const MoeShape shape = moe_shape(options, 0);
  EXPECT_EQ(shape.width, 16);
  EXPECT_EQ(shape.router.experts, 5);
  EXPECT_DOUBLE_EQ(shape.output_scale, 0.25);  // 1/sqrt(2 layers)
  const std::vector<experts::ExpertShape> expected{{ExpertKind::swiglu, 16, 8, true},
                                                   {ExpertKind::relu, 16, 16, true},
                                                   {ExpertKind::swiglu, 16, 24, true},
                                                   {ExpertKind::relu, 16, 8, true},
                                                   {ExpertKind::swiglu, 16, 16, true}};
  EXPECT_EQ(shape.experts, expected);
  EXPECT_EQ(shape.shared, std::vector<experts::ExpertShape>(2, {ExpertKind::swiglu, 16, 40, true}));
}

// The hints name options as --name: those have to lead to the fields.
TEST(ModelOptions, TheTableLeadsToTheFields) {
  ModelOptions options;
  OptionTable table;
  describe(options, table);
  const std::vector<std::pair<std::string, Index*>> numbers{{"layers", &options.layers},
                                                            {"width", &options.width},
                                                            {"heads", &options.heads},
                                                            {"context", &options.context},
                                                            {"moe_every", &options.moe_every},
                                                            {"dense_hidden", &options.dense_hidden},
                                                            {"experts", &options.router.experts},
                                                            {"shared_experts", &options.experts.shared_experts}};
  Index value = 1000;
  for (const auto& [name, field] : numbers) {
    table.assign(name, std::to_string(++value));
    EXPECT_EQ(*field, value) << name;
  }
  table.assign("dense_kind", "relu");
  EXPECT_EQ(options.dense_kind, experts::ExpertKind::relu);
  table.assign("tied_head", "true");
  EXPECT_TRUE(options.tied_head);
}

}  // namespace
}  // namespace conclave::model
