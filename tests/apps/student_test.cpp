// SPDX-License-Identifier: BSD-3-Clause
// How large the student of a model with experts is.
#include "apps/distil.hpp"
#include "apps/pruning.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

model::ModelOptions teacher() {
  model::ModelOptions o;
  o.layers = 4;
  o.width = 24;
  o.heads = 2;
  o.router.experts = 8;
  o.router.top_k = 2;
  o.experts.expert_hidden = {64};
  return o;
}

Index hidden_of(const model::ModelOptions& of) { return student_model(of, {}).dense_hidden; }

TEST(Student, has_the_feed_forwards_that_a_token_passes) {
  model::ModelOptions o = teacher();
  const model::ModelOptions student = student_model(o, {});
  EXPECT_EQ(student.moe_every, 0);
  EXPECT_EQ(student.dense_hidden, 128);
  EXPECT_EQ(student.dense_kind, experts::ExpertKind::gelu);
  EXPECT_EQ(student.layers, 4);
  o.experts.expert_kind = {"swiglu"};
  EXPECT_EQ(hidden_of(o), 128);
  EXPECT_EQ(student_model(o, {}).dense_kind, experts::ExpertKind::swiglu);
  o.experts.shared_experts = 1;  // of kind swiglu too
  o.experts.shared_hidden = 32;
  EXPECT_EQ(hidden_of(o), 160);
  o = teacher();
  o.experts.expert_hidden = {64, 32};
  EXPECT_EQ(hidden_of(o), 96);
  o = teacher();
  o.experts.expert_kind = {"gelu", "swiglu"};  // 2 and 3 matrices: 2 * 2.5 of them as 2 of a gelu
  EXPECT_EQ(hidden_of(o), 160);
  o = teacher();
  o.moe_every = 2;
  o.dense_hidden = 200;  // of half of the blocks
  EXPECT_EQ(hidden_of(o), 164);
  o = teacher();
  o.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  EXPECT_EQ(hidden_of(o), 128);
  o = teacher();
  o.experts.expert_kind = {"linear"};  // 2 * 24 * 24 parameters
  EXPECT_EQ(hidden_of(o), 24);
}

TEST(Student, sizes_that_cannot_be_are_refused) {
  StudentOptions asked;
  asked.student_layers = 2;
  asked.student_hidden = 7;
  const model::ModelOptions student = student_model(teacher(), asked);
  EXPECT_EQ(student.layers, 2);
  EXPECT_EQ(student.dense_hidden, 7);
  asked.student_layers = 5;
  EXPECT_THROW(static_cast<void>(student_model(teacher(), asked)), InputError);
  asked = {};
  asked.student_hidden = -1;
  EXPECT_THROW(static_cast<void>(student_model(teacher(), asked)), InputError);
  model::ModelOptions dense = teacher();
  dense.moe_every = 0;
  EXPECT_THROW(static_cast<void>(student_model(dense, {})), InputError);
}

TEST(Merging, shares_are_how_often_experts_were_chosen) {
  const std::vector<ExpertWorth> worth{{0, ExpertId{0}, 0.6, 0.0}, {0, ExpertId{1}, 0.1, 0.0},
                                       {0, ExpertId{2}, 0.3, 0.0}, {1, ExpertId{0}, 1.0, 0.0},
                                       {1, ExpertId{1}, 0.0, 0.0}, {1, ExpertId{2}, 0.0, 0.0}};
  const std::vector<Merger> mergers{{0, ExpertId{1}, ExpertId{2}, 0.0}, {1, ExpertId{2}, ExpertId{1}, 0.0}};
  const auto origins = merged_origins(mergers, worth, 2);
  ASSERT_EQ(origins.size(), 2U);
  ASSERT_EQ(origins[0].size(), 1U);
  EXPECT_EQ(origins[0][0].experts, (std::vector<ExpertId>{ExpertId{2}, ExpertId{1}}));
  EXPECT_NEAR(origins[0][0].shares[0], 0.75, 1e-15);
  EXPECT_NEAR(origins[0][0].shares[1], 0.25, 1e-15);
  EXPECT_EQ(origins[1][0].shares, (std::vector<double>{0.5, 0.5}));  // nobody chose either
}

}  // namespace
}  // namespace conclave::apps
