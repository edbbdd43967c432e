// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"

#include "runtime/core/random.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "tests/comm/patterns.hpp"
#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

constexpr Index block = plan::ReducePlan::block_elements;

/// One row a group, the same on every rank: what is to be summed.  [num_groups, num_elements]
template <class T>
Matrix<T> leaves(Index num_groups, Index num_elements) {
  const Random random(5, RandomStream::data_order);
  Matrix<T> values(num_groups, num_elements);
  for (Index g = 0; g < num_groups; ++g) {
    for (Index i = 0; i < num_elements; ++i) {
      // A third of it cannot be written in binary: every addition rounds.
      values(g, i) = static_cast<T>((random.uniform(i, g) - 0.5) * (1 << (g % 5)) / 3.0);
    }
  }
  return values;
}

/// The sums over groups [begin, end) in one process.
template <class T>
std::vector<T> tree_sums(const Matrix<T>& values, Range groups) {
  Matrix<T> sums = values.copy();
  for (const Merge& merge : merges_within(groups)) {
    for (Index i = 0; i < sums.cols(); ++i) sums(merge.left, i) += sums(merge.right, i);
  }
  const auto row = sums.row(groups.begin);
  return {row.begin(), row.end()};
}

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// What the slice holds before the sum is added.
template <class T>
T before(Index i) {
  return static_cast<T>(i % 7) / 3;
}

/// The slice after the reduction, on as many ranks as there are.
template <class T>
std::vector<T> reduced_slice(const plan::ReducePlan& plan, const Exchange& exchange, const Matrix<T>& values) {
  const RankId rank = world().rank();
  std::vector<std::vector<T>> sums;
  for (const Range& piece : plan.pieces_of(rank)) sums.push_back(tree_sums(values, piece));
  const std::vector<std::span<const T>> partial_sums(sums.begin(), sums.end());
  const Range elements = plan.slice_of(rank);
  std::vector<T> slice;
  for (Index i = elements.begin; i < elements.end; ++i) slice.push_back(before<T>(i));
  reduce_scatter<T>(plan, world(), exchange, partial_sums, slice);
  return slice;
}

const std::vector<Index> element_counts{0, 1, 100, block, block + 1, 3 * block + 17, 9 * block + 5};
const std::vector<Index> group_counts{0, 1, 2, 3, 5, 8, 13};

template <class T>
class ReproducibleReduce : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(ReproducibleReduce, Floats);

TYPED_TEST(ReproducibleReduce, HasTheBitsOfTheTreeInOneProcess) {
  using T = TypeParam;
  for (const auto& strategy : exchange_strategies()) {
    const auto exchange = strategy.make(world(), world().topology());
    for (const Index num_groups : group_counts) {
      for (const Index num_elements : element_counts) {
        const plan::ReducePlan plan(num_elements, num_groups, world().size());
        const Matrix<T> values = leaves<T>(num_groups, num_elements);
        const std::vector<T> slice = reduced_slice(plan, *exchange, values);
        std::vector<T> expected(static_cast<std::size_t>(num_elements), T{0});
        if (num_groups > 0) expected = tree_sums(values, {0, num_groups});
        for (Index i = 0; i < num_elements; ++i) {
          T& sum = expected[static_cast<std::size_t>(i)];
          sum = num_groups > 0 ? before<T>(i) + sum : before<T>(i);
        }
        const Range elements = plan.slice_of(world().rank());
        EXPECT_TRUE(same_bits<T>(slice, std::span(expected).subspan(static_cast<std::size_t>(elements.begin),
                                                                    static_cast<std::size_t>(elements.size()))))
            << strategy.name << ": " << num_elements << " elements of " << num_groups << " groups";
      }
    }
  }
}

TYPED_TEST(ReproducibleReduce, TheLeavesSumDependsOnTheOrder) {
  using T = TypeParam;
  const Matrix<T> values = leaves<T>(13, 100);
  std::vector<T> left_to_right(100, T{0});
  for (Index g = 0; g < 13; ++g) {
    for (Index i = 0; i < 100; ++i) left_to_right[static_cast<std::size_t>(i)] += values(g, i);
  }
  EXPECT_FALSE(same_bits<T>(left_to_right, tree_sums(values, {0, 13})));
}

TYPED_TEST(ReproducibleReduce, RefusesWhatIsNotPlanned) {
  using T = TypeParam;
  const auto exchange = make_exchange("flat", world());
  const plan::ReducePlan plan(10, 2 * world().size(), world().size());
  const auto num_pieces = plan.pieces_of(world().rank()).size();
  const std::vector<T> sum(10);
  std::vector<T> slice(static_cast<std::size_t>(plan.slice_of(world().rank()).size()));
  const auto reduce = [&](const plan::ReducePlan& planned, std::size_t pieces, std::span<const T> piece) {
    reduce_scatter<T>(planned, world(), *exchange, std::vector<std::span<const T>>(pieces, piece), slice);
  };
  EXPECT_THROW(reduce(plan, num_pieces + 1, sum), InvariantError);
  EXPECT_THROW(reduce(plan, num_pieces, std::span(sum).first(9)), InvariantError);
  EXPECT_THROW(reduce(plan::ReducePlan(10, 2, world().size() + 1), num_pieces, sum), InvariantError);
  EXPECT_NO_THROW(reduce(plan, num_pieces, sum));
}

TYPED_TEST(ReproducibleReduce, GathersSlicesInPlace) {
  using T = TypeParam;
  const auto value = [](Index i) { return static_cast<T>(i + 1); };
  std::vector<Index> counts = element_counts;
  counts.push_back(40 * block + 5);  // slices that are large on any number of ranks
  for (const test::Nodes nodes : test::all_nodes) {
    const auto exchange = make_exchange("flat", world(), test::topology_of(nodes));
    for (const Index num_elements : counts) {
      const plan::ReducePlan plan(num_elements, 3, world().size());
      const Range own = plan.slice_of(world().rank());
      std::vector<T> values(static_cast<std::size_t>(num_elements) + 1, T{-1});  // the last one is not to be written
      for (Index i = own.begin; i < own.end; ++i) values[static_cast<std::size_t>(i)] = value(i);
      all_gather_slices<T>(plan, *exchange, std::span(values).first(static_cast<std::size_t>(num_elements)));
      std::vector<T> expected;
      for (Index i = 0; i < num_elements; ++i) expected.push_back(value(i));
      expected.push_back(T{-1});
      EXPECT_EQ(values, expected) << num_elements << " elements, nodes " << name_of(nodes);
    }
  }
}

TYPED_TEST(ReproducibleReduce, RefusesToGatherWhatIsNotPlanned) {
  using T = TypeParam;
  const auto exchange = make_exchange("flat", world());
  std::vector<T> values(10);
  EXPECT_THROW(all_gather_slices<T>(plan::ReducePlan(11, 1, world().size()), *exchange, values), InvariantError);
  EXPECT_THROW(all_gather_slices<T>(plan::ReducePlan(10, 1, world().size() + 1), *exchange, values), InvariantError);
}

}  // namespace
}  // namespace conclave::comm
