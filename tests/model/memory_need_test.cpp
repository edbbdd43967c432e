// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/memory_need.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/mpi_world.hpp"

namespace conclave::model {
namespace {

using test::world;

ModelOptions small() {
  ModelOptions o;
  o.layers = 3;
  o.width = 16;
  o.heads = 2;
  o.context = 8;
  o.router.experts = 5;
  o.experts.expert_hidden = {24};
  return o;
}

/// A model, and data for it.
struct Case {
  std::string name;
  std::function<void(ModelOptions&)> change;
  DataShape shape{.vocabulary = 100};
};

const std::vector<Case>& cases() {
  constexpr DataShape text_classes{.vocabulary = 100, .classes = 4};
  constexpr DataShape features{.features = 16, .classes = 3};
  static const std::vector<Case> all{
      {"plain", [](auto&) {}},
      {"tied", [](auto& o) { o.tied_head = true; }},
      {"every_second", [](auto& o) { o.moe_every = 2; }},
      {"dense", [](auto& o) { o.moe_every = 0; }},
      {"biases_and_kinds",
       [](auto& o) {
         o.experts.expert_kind = {"swiglu", "relu", "linear"};
         o.experts.expert_bias = true;
         o.moe_every = 3;
       }},
      {"shared", [](auto& o) { o.experts.shared_experts = 2; }},
      {"mlp_gate", [](auto& o) { o.router.gate = gating::GateKind::mlp; }},
      {"text_classes", [](auto&) {}, text_classes},
      {"features", [](auto&) {}, features},
      {"features_as_they_are", [](auto& o) { o.input_map = false; }, features},
      {"features_without_residual", [](auto& o) { o.residual = false; }, features},
  };
  return all;
}

TEST(MemoryNeed, KnowsHowManyParametersEveryRankHasWhole) {
  const auto exchange = comm::make_exchange(comm::exchange_strategies().front().name, world());
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    ModelOptions options = small();
    c.change(options);
    const auto model = make_model<float>(options, c.shape, 1, {&world(), exchange.get()});
    EXPECT_EQ(replicated_elements(options, c.shape), model->replicated().size());
    const ParameterList listed = replicated_layout(options, c.shape).list;
    ASSERT_EQ(listed.entries().size(), model->replicated().entries().size());
    for (std::size_t i = 0; i < listed.entries().size(); ++i) {
      const ParameterEntry& entry = model->replicated().entries()[i];
      EXPECT_EQ(listed.entries()[i].name, entry.name);
      EXPECT_EQ(listed.entries()[i].tensor.range(), entry.tensor.range()) << entry.name;
    }
  }
}

TEST(MemoryNeed, CountsExpertsGradientsAndStatesOnce) {
  RunSizes run{.transport = {.num_ranks = 2, .node_ranks = 2},
               .groups_in_pass = 4,
               .group_rows = 16,
               .num_states = 2,
               .threads = 1};
  const DataShape shape{.vocabulary = 100};
  const auto bytes_of = [&](const ModelOptions& o, std::string_view what, Index rank) {
    double bytes = 0.0;
    for (const plan::MemoryItem& item : memory_need(o, shape, run, RankId{rank}))
      bytes += item.what == what ? item.bytes : 0.0;
    return bytes;
  };
  const ModelOptions o = small();
  constexpr double expert = 2 * 16 * 24;  // elements
  const double on_both =
      bytes_of(o, "experts' weights and gradients", 0) + bytes_of(o, "experts' weights and gradients", 1);
  EXPECT_EQ(on_both, 3.0 * 5.0 * expert * 2.0 * 4.0) << "3 layers of 5 experts, weights and gradients";
  const double states = bytes_of(o, "optimizer state", 0) + bytes_of(o, "optimizer state", 1);
  EXPECT_EQ(states, 2.0 * 4.0 * (3.0 * 5.0 * expert + static_cast<double>(replicated_elements(o, shape))));
  EXPECT_EQ(bytes_of(o, "copy for checkpoints", 0), 0.0);
  run.checkpoint_copy = true;
  const double copies = bytes_of(o, "copy for checkpoints", 0) + bytes_of(o, "copy for checkpoints", 1);
  EXPECT_EQ(copies, 3.0 * states / 2.0) << "the values beside both states";
  ModelOptions wider = o;
  wider.experts.expert_hidden = {48};
  EXPECT_EQ(bytes_of(wider, "experts' activations", 0), 2.0 * bytes_of(o, "experts' activations", 0));
}

TEST(MemoryNeed, OfSeveralRanksIsThatOfEach) {
  const RunSizes run{.transport = {.num_ranks = 3, .node_ranks = 3},
                     .groups_in_pass = 5,
                     .group_rows = 16,
                     .num_states = 2,
                     .threads = 2};
  ModelOptions huge = small();
  huge.width = Index{1} << 30;
  for (const ModelOptions& o : {small(), huge}) {
    const std::vector<RankId> ranks{RankId{2}, RankId{0}};
    const auto needs = memory_needs(o, {.vocabulary = 100}, run, ranks);
    ASSERT_EQ(needs.size(), ranks.size());
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      const auto alone = memory_need(o, {.vocabulary = 100}, run, ranks[i]);
      ASSERT_EQ(needs[i].size(), alone.size());
      EXPECT_EQ(plan::total_bytes(needs[i]), plan::total_bytes(alone));
    }
  }
}

TEST(MemoryNeed, CountsSumsOverSegmentsOfRows) {
  const auto sums_of = [&](Index group_rows) {
    const RunSizes run{.groups_in_pass = 4, .group_rows = group_rows, .num_states = 2, .threads = 3};
    const auto items = memory_need(small(), {.vocabulary = 100}, run, RankId{0});
    const auto item = std::ranges::find(items, "sums of experts' gradients", &plan::MemoryItem::what);
    return item == items.end() ? 0.0 : item->bytes;
  };
  constexpr double expert = 2 * 16 * 24;  // elements
  const Index top_k = small().router.top_k;
  EXPECT_EQ(sums_of(16), 0.0) << "one product is no sum";
  // 5 experts with 4 blocks each, in two levels
  EXPECT_EQ(sums_of(4 * experts::default_block_rows * 5 / 4 / top_k), 3.0 * (2.0 + 1.0) * expert * 4.0);
}

TEST(MemoryNeed, CountsReplicasOfExpertsOnSeveralRanks) {
  const auto bytes_on = [&](Index ranks, Index replicas) {
    const RunSizes run{.transport = {.num_ranks = ranks, .node_ranks = ranks},
                       .groups_in_pass = 4,
                       .group_rows = 16,
                       .num_states = 2,
                       .threads = 1,
                       .checkpoint_copy = false,
                       .replicas = replicas};
    return plan::total_bytes(memory_need(small(), {.vocabulary = 100}, run, RankId{0}));
  };
  constexpr double expert = 2 * 16 * 24;  // elements
  EXPECT_EQ(bytes_on(1, 3), bytes_on(1, 0)) << "there is no other rank";
  EXPECT_EQ(bytes_on(2, 3) - bytes_on(2, 0), 3.0 * 4.0 * 4.0 * 2.0 * expert) << "two a rank, in each of 3 layers";
}

// More ranks than groups: some have experts and no tokens.
TEST(MemoryNeed, RowsComeToExpertsWhereverTheirTokensAre) {
  const auto activations_on = [&](Index ranks) {
    const RunSizes run{.transport = {.num_ranks = ranks, .node_ranks = ranks},
                       .groups_in_pass = 2,
                       .group_rows = 16,
                       .num_states = 2,
                       .threads = 1};
    double bytes = 0.0;
    for (RankId rank; rank < RankId{ranks}; ++rank) {
      for (const plan::MemoryItem& item : memory_need(small(), {.vocabulary = 100}, run, rank)) {
        bytes += item.what == "experts' activations" ? item.bytes : 0.0;
      }
    }
    return bytes;
  };
  ASSERT_GT(activations_on(1), 0.0);
  for (const Index ranks : {2, 3, 5, 9}) EXPECT_NEAR(activations_on(ranks), activations_on(1), 1e-6) << ranks;
}

TEST(MemoryNeed, KnowsEveryExchange) {
  for (const comm::ExchangeStrategy& strategy : comm::exchange_strategies()) {
    SCOPED_TRACE(strategy.name);
    for (const Index num_ranks : {1, 2, 6}) {
      const plan::RowTransport transport{.exchange = strategy.name, .num_ranks = num_ranks, .node_ranks = num_ranks};
      const double kept = plan::rows_kept(transport, {60.0, 30.0, false});
      const bool stages = num_ranks > 1 && strategy.name != "shared" && strategy.name != "hierarchical";
      EXPECT_EQ(kept > 30.0, stages) << kept << " rows on " << num_ranks << " ranks";
      EXPECT_GE(kept, 30.0);
    }
  }
  EXPECT_THROW(static_cast<void>(plan::rows_kept({.exchange = "none"}, {})), InvariantError);
}

TEST(MemoryNeed, CountsWhatExpertsShareOnEveryRank) {
  ModelOptions o = small();
  o.experts.expert_sharing = experts::ExpertSharing::base_and_delta;
  o.experts.expert_rank = 2;
  const auto exchange = comm::make_exchange("flat", world());
  const auto model = make_model<float>(o, {.vocabulary = 100}, 1, {&world(), exchange.get()});
  const Index base = model->moe_layers().front()->base().size();
  ASSERT_GT(base, 0);
  EXPECT_EQ(base_elements(experts::expert_shapes(o.experts, o.width, o.router.experts)), base);
  const RunSizes alone{.groups_in_pass = 4, .group_rows = 16, .num_states = 2, .threads = 1};
  const auto items = memory_need(o, {.vocabulary = 100}, alone, RankId{0});
  const auto item = std::ranges::find(items, "experts' shared base", &plan::MemoryItem::what);
  ASSERT_NE(item, items.end());
  // of 3 layers: values, the sum over the 5 experts, two in the making, its inbox, and what it is added to
  EXPECT_NEAR(item->bytes, 3.0 * 4.0 * static_cast<double>(base) * (1.0 + 1.0 + 2.0 + 1.0 + 1.0), 1e-6 * item->bytes);
}

}  // namespace
}  // namespace conclave::model
