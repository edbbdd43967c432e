// SPDX-License-Identifier: BSD-3-Clause
// Parameters that every rank has, run by run: whatever the order in which their gradients come, the sums are the
// tree's.
#include "runtime/train/replicated_run.hpp"

#include "tests/support/gradient_check.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using test::random_values;
using test::world;

constexpr Index num_groups = 5;

ParameterList make_list() {
  ParameterList list;
  list.add_matrix("small", 10, 7, {});
  list.add_matrix("large", 600, 500, {});
  list.add_vector("one", 1, {});
  list.add_matrix("half", 400, 512, {});
  list.add_matrix("rest", 200, 512, {});
  list.add_matrix("last", 3, 100, {});
  return list;
}

TEST(CutIntoRuns, FollowsTensorsAndCoversThemAll) {
  const ParameterList list = make_list();
  EXPECT_EQ(cut_into_runs(list), (std::vector<Range>{{0, 300070}, {300070, 607271}, {607271, list.size()}}));
  EXPECT_EQ(cut_into_runs(ParameterList{}), (std::vector<Range>{{0, 0}}));
}

TEST(ReplicatedRun, AddsUpTheGroupsOfEachPass) {
  const ParameterList list = make_list();
  const plan::ReducePlan plan(list.size(), num_groups, world().size());
  const Range groups = plan.groups_of(world().rank());
  const auto exchange = comm::make_exchange("flat", world());
  const model::Ranks ranks{&world(), exchange.get()};
  model::GroupGradients<float> gradients(plan, world().rank());
  std::vector<float> values(static_cast<std::size_t>(list.size()), 0.0F);
  std::deque<ReplicatedRun> runs;
  for (const Range run : cut_into_runs(list)) {
    runs.emplace_back(ReplicatedValues{&list, values}, run, num_groups, gradients, ranks);
  }
  gradients.when_summed([&](Range parameters) {
    for (ReplicatedRun& run : runs) run.cover(parameters);
  });

  // From the last tensor to the first, as a backward goes; "one" has no gradient in the second pass.
  std::vector<double> expected(values.size(), 0.0);
  PhaseTimes times;
  for (Index pass = 0; pass < 2; ++pass) {
    const auto leaf_of = [&](Index group) { return random_values<float>(list.size(), 100 * pass + group); };
    std::vector<std::vector<float>> leaves;
    for (Index g = 0; g < num_groups; ++g) leaves.push_back(leaf_of(g));
    for (auto entry = list.entries().rbegin(); entry != list.entries().rend(); ++entry) {
      if (pass == 1 && entry->name == "one") continue;
      const Range range = entry->tensor.range();
      gradients.add(range, [&](Index g, ParameterView<float> leaf) {
        const std::span<float> to = leaf.vector(Tensor{range.begin, 1, range.size()});
        for (std::size_t i = 0; i < to.size(); ++i) {
          to[i] += leaves[static_cast<std::size_t>(groups.begin + g)][static_cast<std::size_t>(range.begin) + i];
        }
      });
      for (Index i = range.begin; i < range.end; ++i) {
        for (Index g = 0; g < num_groups; ++g) {
          expected[static_cast<std::size_t>(i)] += leaves[static_cast<std::size_t>(g)][static_cast<std::size_t>(i)];
        }
      }
    }
    for (ReplicatedRun& run : runs) run.finish(times);
    gradients.clear();
  }

  EXPECT_EQ(times.communication_s() > times.seconds(Phase::wait), world().size() > 1);
  Index owned = 0;
  for (ReplicatedRun& run : runs) {
    owned += run.slice().size();
    std::ranges::copy(run.slice_gradient(), run.slice_values().begin());
    run.share_values();
  }
  EXPECT_EQ(world().sum(owned), list.size());
  ASSERT_NE(expected.front(), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], expected[i], 40.0 * std::numeric_limits<float>::epsilon()) << i;
  }
}

}  // namespace
}  // namespace conclave::train
