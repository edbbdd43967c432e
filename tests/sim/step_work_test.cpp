// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/sim/step_work.hpp"

#include "tests/sim/workloads.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

std::vector<std::vector<double>> some_rows() {
  return {{10, 90, 0, 60, 70, 120, 130, 110}, {50, 60, 70, 80, 90, 100, 110, 0}};
}

TEST(StepWork, FlopsAreSixAnElementAndRowWhateverTheRanks) {
  const Workload w = small_workload();
  const double tokens = 12.0 * 32.0;
  double rows = 0.0;
  double expected = 6.0 * tokens * (50.0 * 8.0);                                     // head
  expected += 3.0 * (6.0 * tokens * 4.0 * 64.0 + 12.0 * 8.0 * tokens * 0.5 * 17.0);  // attention
  expected += 6.0 * tokens * 2.0 * 8.0 * 24.0;                                       // dense
  expected += 2.0 * 6.0 * tokens * 64.0;                                             // gates
  for (const auto& layer : some_rows()) {
    for (std::size_t e = 0; e < layer.size(); ++e) {
      expected += 6.0 * layer[e] * (e < 6 ? 2.0 * 8.0 * 16.0 : 3.0 * 8.0 * 20.0);
      rows += layer[e];
    }
  }
  ASSERT_GT(rows, 0.0);
  for (const Index ranks : {1, 2, 3, 5, 8, 20}) {
    const ExpertMap map = ExpertMap::contiguous(8, ranks);
    double all = 0.0;
    for (RankId rank; rank < RankId{ranks}; ++rank) all += flops(step_work(w, map, rank, some_rows()));
    EXPECT_NEAR(all, expected, 1e-9 * expected) << ranks << " ranks";
  }
}

TEST(StepWork, ElementsAreScoresAndChoices) {
  const Workload w = small_workload();
  const PhaseWork work = step_work(w, ExpertMap::contiguous(8, 1), RankId{0}, some_rows());
  const double tokens = 12.0 * 32.0;
  EXPECT_DOUBLE_EQ(of(work, Phase::attention).elements, 3.0 * tokens * 2.0 * 8.5);  // blocks, heads, earlier tokens
  EXPECT_DOUBLE_EQ(of(work, Phase::gate).elements, 2.0 * tokens * 2.0);             // MoE blocks, choices
  EXPECT_EQ(of(work, Phase::experts).elements, 0.0);
}

TEST(StepWork, TheFootprintIsParametersWithTheirsAndAPassesTokens) {
  Workload w = small_workload();
  double experts = 0.0;
  for (const FeedForwardSizes& e : w.moe.experts) experts += 2.0 * static_cast<double>(e.parameters);
  const double replicated = static_cast<double>(w.replicated_parameters);
  // Of a token: 3 blocks, a dense one's hidden values, 2 experts each of 2 blocks, and logits with their gradients.
  const double hidden = (6.0 * 2.0 * 16.0 + 2.0 * 3.0 * 20.0) / 8.0;
  const double of_token = 2.0 * (3.0 * 14.0 * 8.0 + 2.0 * 24.0 + 2.0 * 2.0 * (2.0 * 8.0 + hidden) + 2.0 * 50.0);
  EXPECT_DOUBLE_EQ(step_footprint(w, 1), 4.0 * (4.0 * (experts + replicated) + 6.0 * 32.0 * of_token));
  EXPECT_DOUBLE_EQ(step_footprint(w, 4), 4.0 * (experts + 2.5 * replicated + 1.5 * 32.0 * of_token));
  w.states = 0;
  EXPECT_DOUBLE_EQ(step_footprint(w, 4), 4.0 * (0.5 * experts + 2.0 * replicated + 1.5 * 32.0 * of_token));
}

TEST(StepWork, RanksWithoutGroupsOrExpertsDoNothingOfTheirs) {
  const Workload w = small_workload();
  const ExpertMap map = ExpertMap::contiguous(8, 20);
  const PhaseWork last = step_work(w, map, RankId{19}, some_rows());
  for (const Phase phase : {Phase::embedding, Phase::attention, Phase::gate, Phase::experts, Phase::head}) {
    EXPECT_EQ(of(last, phase).flops, 0.0) << name_of(phase);
    EXPECT_EQ(of(last, phase).bytes, 0.0) << name_of(phase);
  }
  const PhaseWork first = step_work(w, map, RankId{0}, some_rows());
  for (const Phase phase : {Phase::embedding, Phase::attention, Phase::gate, Phase::dispatch, Phase::experts,
                            Phase::combine, Phase::dense, Phase::head, Phase::reduce, Phase::optimizer}) {
    EXPECT_GT(of(first, phase).bytes, 0.0) << name_of(phase);
    EXPECT_GT(of(first, phase).calls, 0.0) << name_of(phase);
  }
  EXPECT_EQ(of(first, Phase::wait), Work{});
}

TEST(StepWork, AnExpertIsAffineInItsRowsAndFreeWithoutAny) {
  const FeedForwardSizes expert{8, 16, 2, 256};
  EXPECT_EQ(expert_work(expert, 0.0), Work{});
  const Work ten = expert_work(expert, 10.0);
  const Work twenty = expert_work(expert, 20.0);
  EXPECT_EQ(ten.flops, 6.0 * 10.0 * 256.0);
  EXPECT_EQ(twenty.flops, 2.0 * ten.flops);
  EXPECT_LT(twenty.bytes, 2.0 * ten.bytes) << "the weights are read once";
  // Weights read forward and back, their gradient written and read; of a row two sides a product, 3 products a matrix.
  EXPECT_DOUBLE_EQ(ten.bytes, 4.0 * (4.0 * 256.0 + 10.0 * (3.0 * 2.0 * 24.0 + 6.0 * 16.0 + 2.0 * 8.0)));
}

TEST(StepWork, EveryParameterIsUpdatedOnce) {
  const Workload w = small_workload();
  double bytes = 0.0;
  for (RankId rank; rank < RankId{5}; ++rank) {
    bytes += of(step_work(w, ExpertMap::contiguous(8, 5), rank, some_rows()), Phase::optimizer).bytes;
  }
  // Value, gradient and two states read and written, the gradient once more for the norm.
  EXPECT_DOUBLE_EQ(bytes, 4.0 * 9.0 * w.parameters());
  EXPECT_DOUBLE_EQ(w.checkpoint_bytes(), 4.0 * 3.0 * w.parameters());
}

TEST(StepWork, RefusesRowsOfOtherExperts) {
  const Workload w = small_workload();
  const std::vector<std::vector<double>> few{{1.0}, {1.0}};
  EXPECT_THROW(static_cast<void>(step_work(w, ExpertMap::contiguous(8, 2), RankId{0}, few)), InvariantError);
  EXPECT_THROW(static_cast<void>(step_work(w, ExpertMap::contiguous(8, 2), RankId{0}, {})), InvariantError);
}

}  // namespace
}  // namespace conclave::sim
