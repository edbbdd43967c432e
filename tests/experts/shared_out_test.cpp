// SPDX-License-Identifier: BSD-3-Clause
// An expert whose rows several hosts share out gives the bits that it gives where one host computes them all.
#include "experts/expert_shard.hpp"
#include "runtime/core/gemm.hpp"
#include "runtime/core/parallel.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::experts {
namespace {

using test::random_values;
using test::same_bits;

constexpr Index width = 40;
constexpr Index block_rows = 8;  // products of few rows, whose bits do depend on how many there are

/// A layer of an expert that is shared out, between two that are not.
std::vector<ExpertShape> shapes() {
  return {
      {ExpertKind::relu, width, 9, true}, {ExpertKind::swiglu, width, 36, true}, {ExpertKind::linear, width, 0, true}};
}

/// One host of expert 1, which has others beside it.
template <class T>
class Host {
 public:
  Host(Index number, Index num_hosts)
      : shard_(shapes(), {{ExpertId{0}}, {ExpertId{1}, number, num_hosts}, {ExpertId{2}}}, "", 1.0, {}, block_rows),
        segments_of_{number, num_hosts} {
    for (LocalExpertId e; e < LocalExpertId{3}; ++e) {
      const std::vector<T> drawn = random_values<T>(std::ssize(shard_.values(e)), 10 + e.value(), 0.2);
      std::ranges::copy(drawn, shard_.values(e).begin());
    }
  }

  /// A step in which expert 1 has `rows` rows on all hosts, the others five here.
  void run(Index rows, Index step) {
    const std::vector<T> all_x = random_values<T>(rows * width, 100 * step + 1);
    const std::vector<T> all_dy = random_values<T>(rows * width, 100 * step + 2);
    const RowCut cut(rows, block_rows);
    const Range mine = cut.rows_of(cut.segments_of_host(segments_of_[0], segments_of_[1]));
    shard_.begin({5, rows, 5});
    const std::vector<T> x = with_others(all_x, mine);
    const std::vector<T> dy = with_others(all_dy, mine);
    std::vector<T> all_y(x.size()), all_dx(x.size());
    const Index here = mine.size() + 10;
    shard_.forward({0, 3}, as_matrix<const T>(x, here, width), as_matrix<T>(all_y, here, width));
    shard_.backward_input({0, 3}, as_matrix<const T>(dy, here, width), as_matrix<T>(all_dx, here, width));
    shard_.backward_weights({0, 3}, as_matrix<const T>(x, here, width), as_matrix<const T>(dy, here, width));
    y.assign(all_y.begin() + 5 * width, all_y.end() - 5 * width);
    dx.assign(all_dx.begin() + 5 * width, all_dx.end() - 5 * width);
  }
  ExpertShard<T>& shard() { return shard_; }
  std::vector<T> y, dx;  // of expert 1

 private:
  static std::vector<T> with_others(const std::vector<T>& all, Range mine) {
    std::vector<T> rows = random_values<T>(5 * width, 7);
    const std::vector<T> behind = rows;
    rows.insert(rows.end(), all.begin() + mine.begin * width, all.begin() + mine.end * width);
    rows.insert(rows.end(), behind.begin(), behind.end());
    return rows;
  }
  ExpertShard<T> shard_;
  std::array<Index, 2> segments_of_;
};

template <class T>
class SharedOutTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SharedOutTest, Scalars);

constexpr LocalExpertId shared_out{1};

TYPED_TEST(SharedOutTest, HostsGiveTheBitsOfOne) {
  using T = TypeParam;
  for (const Index num_hosts : {2, 3, 5}) {
    Host<T> alone(0, 1);
    std::deque<Host<T>> hosts;
    for (Index h = 0; h < num_hosts; ++h) hosts.emplace_back(h, num_hosts);
    Host<T>& home = hosts.front();
    Index step = 0;
    Index sums_moved = 0;
    for (const Index rows : {150, 0, 3, 17, 41, 150, 270}) {  // gradients add up, cleared once in the middle
      SCOPED_TRACE(fmt::format("{} hosts, {} rows", num_hosts, rows));
      alone.run(rows, ++step);
      std::vector<T> y, dx;
      for (Index h = 0; h < num_hosts; ++h) {
        Host<T>& host = hosts[static_cast<std::size_t>(h)];
        host.run(rows, step);
        y.insert(y.end(), host.y.begin(), host.y.end());
        dx.insert(dx.end(), host.dx.begin(), host.dx.end());
      }
      for (Index h = 1; h < num_hosts; ++h) {
        const MatrixView<T> sums = hosts[static_cast<std::size_t>(h)].shard().partial_sums(shared_out, h);
        const MatrixView<T> room = home.shard().partial_sums(shared_out, h);
        ASSERT_EQ(room.rows, sums.rows);
        for (Index i = 0; i < sums.rows; ++i) std::ranges::copy(sums.row(i), room.row(i).begin());
        sums_moved += sums.rows;
      }
      home.shard().add_partial_sums(shared_out);
      EXPECT_TRUE(same_bits<T>(y, alone.y));
      EXPECT_TRUE(same_bits<T>(dx, alone.dx));
      for (LocalExpertId e; e < LocalExpertId{3}; ++e) {
        EXPECT_TRUE(same_bits<T>(home.shard().gradient(e), alone.shard().gradient(e))) << e.value();
      }
      EXPECT_TRUE(hosts.back().shard().gradient(shared_out).empty());
      if (step != 3) continue;
      alone.shard().clear_gradients();
      for (Host<T>& host : hosts) host.shard().clear_gradients();
    }
    EXPECT_GE(sums_moved, 5 * (num_hosts - 1)) << "steps of more than one segment";
  }
}

// Else the test above could not fail: a product over all rows, or another order of the sums, has other bits.
TYPED_TEST(SharedOutTest, TheTreeIsNotTheProductOfAllRows) {
  using T = TypeParam;
  Host<T> cut(0, 1);
  cut.run(150, 1);
  ExpertShard<T> whole(shapes(), {{ExpertId{1}}}, "", 1.0, {}, 1000);
  std::ranges::copy(cut.shard().values(shared_out), whole.values(LocalExpertId{0}).begin());
  const std::vector<T> x = random_values<T>(150 * width, 101);
  const std::vector<T> dy = random_values<T>(150 * width, 102);
  std::vector<T> y(x.size()), dx(x.size());
  whole.begin({150});
  whole.forward({0, 1}, as_matrix<const T>(x, 150, width), as_matrix<T>(y, 150, width));
  whole.backward_input({0, 1}, as_matrix<const T>(dy, 150, width), as_matrix<T>(dx, 150, width));
  whole.backward_weights({0, 1}, as_matrix<const T>(x, 150, width), as_matrix<const T>(dy, 150, width));
  const std::span<const T> one = whole.gradient(LocalExpertId{0});
  const std::span<const T> tree = cut.shard().gradient(shared_out);
  EXPECT_FALSE(same_bits<T>(one, tree));
  for (std::size_t i = 0; i < one.size(); ++i) ASSERT_NEAR(one[i], tree[i], 1e-3) << i;
}

TYPED_TEST(SharedOutTest, OnlyTheHomeAddsPartialSumsUp) {
  Host<TypeParam> replica(1, 2);
  replica.run(150, 1);
  EXPECT_FALSE(replica.shard().is_home(shared_out));
  EXPECT_THROW(replica.shard().add_partial_sums(shared_out), InvariantError);
}

TYPED_TEST(SharedOutTest, ExpertsThatShareABaseHaveOneHost) {
  const ExpertShape shape{ExpertKind::gelu, width, 12, false, 3};
  const ParameterList base = base_parameters(shape, "base/", 1.0);
  EXPECT_THROW((ExpertShard<TypeParam>({shape}, {{ExpertId{0}, 0, 2}}, "", 1.0, base)), InvariantError);
}

}  // namespace
}  // namespace conclave::experts
