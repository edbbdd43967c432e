// SPDX-License-Identifier: BSD-3-Clause
#include "experts/options.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace conclave::experts {
namespace {

struct Refusal {
  std::string message;
  std::string hint;
};

Refusal refusal(const std::function<void(ExpertOptions&)>& change) {
  ExpertOptions options;
  change(options);
  try {
    validate(options, 16);
  } catch (const InputError& error) {
    return {error.what(), error.hint()};
  }
  return {"accepted", ""};
}

ExpertOptions& share(ExpertOptions& o) {
  o.expert_sharing = ExpertSharing::base_and_delta;
  return o;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(ExpertOptionsTest, DefaultsAndBordersAreAccepted) {
  EXPECT_EQ(refusal([](auto&) {}).message, "accepted");
  EXPECT_EQ(refusal([](auto& o) { o.expert_hidden = {1}; }).message, "accepted");
  EXPECT_EQ(refusal([](auto& o) { o.expert_kind = {"linear", "relu", "gelu", "swiglu"}; }).message, "accepted");
  EXPECT_EQ(refusal([](auto& o) { o.shared_hidden = 0; }).message, "accepted") << "without shared experts";
  EXPECT_EQ(refusal([](auto& o) { o.expert_rank = 0; }).message, "accepted") << "without deltas";
  for (const Index rank : {1, 16}) {
    EXPECT_EQ(refusal([&](auto& o) { share(o).expert_rank = rank; }).message, "accepted") << rank;
  }
  EXPECT_EQ(refusal([](auto& o) { share(o).expert_hidden = {12, 12}, o.expert_rank = 12; }).message, "accepted");
  EXPECT_EQ(refusal([](auto& o) { share(o).expert_kind = {"linear"}, o.expert_hidden = {4}; }).message, "accepted");
}

TEST(ExpertOptionsTest, AnImpossibleValueIsRefusedByNameAndValue) {
  struct Case {
    std::function<void(ExpertOptions&)> change;
    std::string part;
  };
  const std::vector<Case> cases = {
      {[](auto& o) { o.expert_kind = {}; }, "expert_kind is an empty list"},
      {[](auto& o) {
         o.expert_kind = {"gelu", "tanh"};
       },
       "'tanh'"},
      {[](auto& o) { o.expert_hidden = {}; }, "expert_hidden is an empty list"},
      {[](auto& o) {
         o.expert_hidden = {8, 0};
       },
       "expert_hidden has 0"},
      {[](auto& o) { o.expert_hidden = {-4}; }, "expert_hidden has -4"},
      {[](auto& o) { o.shared_experts = -1; }, "shared_experts = -1"},
      {[](auto& o) {
         share(o).expert_kind = {"gelu", "relu"};
       },
       "expert_kind = gelu,relu and expert_hidden = 256"},
      {[](auto& o) {
         share(o).expert_hidden = {64, 32};
       },
       "expert_kind = gelu and expert_hidden = 64,32"},
      {[](auto& o) { share(o).expert_rank = 0; }, "expert_rank = 0 for matrices of 16 x 256"},
      {[](auto& o) { share(o).expert_rank = 17; }, "expert_rank = 17 for matrices of 16 x 256"},
      {[](auto& o) { share(o).expert_hidden = {7}; }, "expert_rank = 8 for matrices of 16 x 7"},
      {[](auto& o) { share(o).expert_kind = {"linear"}, o.expert_rank = 17; }, "for matrices of 16 x 16"},
      {[](auto& o) { o.shared_experts = 1, o.shared_hidden = 0; }, "shared_hidden = 0"},
  };
  for (const Case& c : cases) {
    const Refusal r = refusal(c.change);
    EXPECT_TRUE(contains(r.message, c.part)) << c.part << " in: " << r.message;
    EXPECT_FALSE(r.hint.empty()) << r.message;
  }
}

TEST(ExpertOptionsTest, AnUnknownKindListsTheValidOnes) {
  const Refusal r = refusal([](auto& o) { o.expert_kind = {"swigl"}; });
  EXPECT_TRUE(contains(r.message, "did you mean swiglu?")) << r.message;
  for (const auto& kind : enum_names(ExpertKind{})) EXPECT_TRUE(contains(r.hint, kind.name)) << r.hint;
  ExpertOptions options;
  options.expert_kind = {"SwiGLU"};
  EXPECT_THROW(static_cast<void>(expert_shapes(options, 8, 2)), InputError);
}

TEST(ExpertOptionsTest, ListsAreRepeatedOverTheExperts) {
  ExpertOptions o;
  o.expert_kind = {"gelu", "linear"};
  o.expert_hidden = {5, 6, 7};
  o.expert_bias = true;
  const std::vector<ExpertShape> expected = {{ExpertKind::gelu, 16, 5, true},
                                             {ExpertKind::linear, 16, 6, true},
                                             {ExpertKind::gelu, 16, 7, true},
                                             {ExpertKind::linear, 16, 5, true},
                                             {ExpertKind::gelu, 16, 6, true}};
  EXPECT_EQ(expert_shapes(o, 16, 5), expected);
  EXPECT_TRUE(expert_shapes(o, 16, 0).empty());
}

TEST(ExpertOptionsTest, DeltasAreOfRoutedExpertsOnly) {
  ExpertOptions o;
  o.expert_rank = 5;
  o.shared_experts = 1;
  EXPECT_EQ(expert_shapes(o, 16, 1).front().delta_rank, 0);
  share(o);
  EXPECT_EQ(expert_shapes(o, 16, 2), (std::vector<ExpertShape>(2, {ExpertKind::gelu, 16, 256, false, 5})));
  EXPECT_EQ(shared_shapes(o, 16).front().delta_rank, 0);
}

TEST(ExpertOptionsTest, SharedExpertsAreOfTheFirstKind) {
  ExpertOptions o;
  o.expert_kind = {"swiglu", "linear"};
  EXPECT_TRUE(shared_shapes(o, 16).empty());
  o.shared_experts = 2;
  o.shared_hidden = 9;
  EXPECT_EQ(shared_shapes(o, 16), (std::vector<ExpertShape>(2, {ExpertKind::swiglu, 16, 9, false})));
}

TEST(ExpertOptionsTest, ListsAreReadFromText) {
  ExpertOptions o;
  OptionTable table;
  describe(o, table);
  table.assign("expert_kind", "relu,gelu");
  table.assign("expert_hidden", "8,16");
  table.assign("expert_bias", "yes");
  table.assign("shared_experts", "3");
  table.assign("shared_hidden", "4");
  EXPECT_EQ(o.expert_kind, (std::vector<std::string>{"relu", "gelu"}));
  EXPECT_EQ(o.expert_hidden, (std::vector<Index>{8, 16}));
  EXPECT_TRUE(o.expert_bias);
  EXPECT_EQ(o.shared_experts, 3);
  EXPECT_EQ(o.shared_hidden, 4);
}

}  // namespace
}  // namespace conclave::experts
