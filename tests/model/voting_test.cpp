// SPDX-License-Identifier: BSD-3-Clause
// The vote of experts against plain loops over the layer's own results, for texts of several tokens.
#include "runtime/model/voting.hpp"

#include "tests/support/gradient_check.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

#include <set>

namespace conclave::model {
namespace {

using test::random_values;
using test::world;

constexpr Index width = 6;
constexpr Index classes = 3;
constexpr Index context = 4;
constexpr Index in_group = 3;
constexpr Index num_groups = 12;

/// A layer, norm and head over one rank's tokens, and random samples.
class VotingTest : public testing::Test {
 protected:
  VotingTest() {
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
      lengths_[i] = static_cast<std::int32_t>(1 + i % context);
      targets_[i] = static_cast<std::int32_t>(i * i % classes);
    }
    std::ranges::copy(random_values(list_.size(), 1, 0.7), values_.begin());
    for (Index e = 0; e < layer_.shard().num_experts(); ++e) {
      const std::span<double> of_expert = layer_.shard().values(LocalExpertId{e});
      std::ranges::copy(random_values(std::ssize(of_expert), 10 + e, 0.7), of_expert.begin());
    }
    Matrix<double> x(tokens, width);
    std::ranges::copy(random_values(tokens * width, 2), x.flat().begin());
    std::ranges::copy(random_values(tokens * width, 3, 0.5), base_.flat().begin());
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens), 0);
    Matrix<double> y(tokens, width);
    y.fill(99.0);
    layer_.forward(view(), step_, x.view(), ids, y.view());
    for (const double value : y.flat()) EXPECT_EQ(value, 0.0);
  }

  [[nodiscard]] ParameterView<const double> view() const { return ParameterView<const double>(values_); }
  void vote() {
    voting_.forward(view(), {&norm_, &head_}, step_, {{context, lengths_}, targets_, in_group}, base_.view(), layer_);
  }

  // logits of one voter: head(norm(base + f))
  [[nodiscard]] std::vector<double> logits(Index token, Index choice) const {
    const KeptResults<double> results = layer_.results();
    std::vector<double> v(base_.row(token).begin(), base_.row(token).end());
    if (choice >= 0) {
      const auto f = results.rows.row(results.plan.row_of_choice(choice));
      for (std::size_t i = 0; i < v.size(); ++i) v[i] += f[i];
    }
    double mean_square = 0.0;
    for (const double value : v) mean_square += value * value / width;
    const double* gain = values_.data() + norm_.parameters().begin;
    const double* w = values_.data() + head_.parameters().begin;
    const double* bias = w + classes * width;
    std::vector<double> z;
    for (Index c = 0; c < classes; ++c) {
      double sum = bias[c];
      for (Index i = 0; i < width; ++i) {
        sum += w[c * width + i] * gain[i] * v[static_cast<std::size_t>(i)] / std::sqrt(mean_square + 1e-6);
      }
      z.push_back(sum);
    }
    return z;
  }

  static constexpr Index tokens = num_groups * in_group * context;
  comm::Communicator alone_ = world().split(world().rank().value());
  std::unique_ptr<comm::Exchange> exchange_ = comm::make_exchange("flat", alone_);
  ParameterList list_;
  RmsNorm<double> norm_{list_, "norm", width};
  MoeLayer<double> layer_{list_, "moe/", shape(), 3, 0, ExpertMap::contiguous(5, 1), {&alone_, exchange_.get()}};
  Linear<double> head_{list_, "head", width, classes, Initial{}, Initial{}};
  std::vector<double> values_ = std::vector<double>(static_cast<std::size_t>(list_.size()));
  PhaseTimes times_;
  Step step_{4, true, num_groups, num_groups, 0, {num_groups, in_group* context}, &times_};
  std::vector<std::int32_t> lengths_ = std::vector<std::int32_t>(num_groups * in_group);
  std::vector<std::int32_t> targets_ = std::vector<std::int32_t>(num_groups * in_group);
  Matrix<double> base_{tokens, width};
  Voting<double> voting_;

 private:
  static MoeShape shape() {
    MoeShape s;
    s.width = width;
    s.fusion = Fusion::vote;
    s.router.experts = 5;
    s.router.top_k = 2;
    s.router.capacity_factor = 0.5;  // so that some tokens are served by nobody
    s.router.min_capacity = 0;
    s.experts.assign(5, {experts::ExpertKind::gelu, width, 7, true});
    return s;
  }
};

TEST_F(VotingTest, IsThatOfPlainLoops) {
  vote();
  Index unserved = 0;
  Index beside_mixture = 0;
  std::vector<double> group_nats(num_groups, 0.0);
  std::vector<Index> group_correct(num_groups, 0);
  for (Index s = 0; s < num_groups * in_group; ++s) {
    const auto at = static_cast<std::size_t>(s);
    std::vector<double> votes(classes, 0.0);
    std::vector<double> mixture(classes, 0.0);
    double gates = 0.0;
    for (Index t = s * context; t < s * context + lengths_[at]; ++t) {
      const KeptResults<double> results = layer_.results();
      const Range choices = results.plan.choices_of(t);
      unserved += choices.empty() ? 1 : 0;
      for (Index c = choices.empty() ? -1 : choices.begin; c < (choices.empty() ? 0 : choices.end); ++c) {
        const double gate = c < 0 ? 1.0 : results.gates[static_cast<std::size_t>(c)];
        const std::vector<double> z = logits(t, c);
        double sum = 0.0;
        for (const double v : z) sum += std::exp(v);
        for (std::size_t k = 0; k < z.size(); ++k) mixture[k] += gate * std::exp(z[k]) / sum;
        votes[static_cast<std::size_t>(std::max_element(z.begin(), z.end()) - z.begin())] += gate;
        gates += gate;
      }
    }
    const auto winner = std::max_element(votes.begin(), votes.end()) - votes.begin();
    beside_mixture += winner != std::max_element(mixture.begin(), mixture.end()) - mixture.begin() ? 1 : 0;
    EXPECT_EQ(voting_.winners()[at], winner) << "sample " << s;
    group_nats[static_cast<std::size_t>(s / in_group)] -=
        std::log(mixture[static_cast<std::size_t>(targets_[at])] / gates);
    group_correct[static_cast<std::size_t>(s / in_group)] += winner == targets_[at] ? 1 : 0;
  }
  for (std::size_t g = 0; g < group_nats.size(); ++g) {
    EXPECT_NEAR(voting_.losses()[g].nats, group_nats[g], 1e-12 * std::max(1.0, group_nats[g]));
    EXPECT_EQ(voting_.losses()[g].correct, group_correct[g]);
  }
  EXPECT_GT(unserved, 0);
  EXPECT_GT(beside_mixture, 0) << "a vote is not the mixture's most likely class";
  EXPECT_GT(std::set<std::int32_t>(voting_.winners().begin(), voting_.winners().end()).size(), 1U);
}

TEST_F(VotingTest, GivesTiesToTheLowerClass) {
  std::fill(values_.begin() + head_.parameters().begin, values_.begin() + head_.parameters().end, 0.0);
  vote();
  for (const std::int32_t winner : voting_.winners()) EXPECT_EQ(winner, 0);
}

// Voters that find the label impossible still have a loss that is finite, and its gradient.
TEST_F(VotingTest, StaysFiniteWhereTheLabelIsAllButImpossible) {
  double* bias = values_.data() + head_.parameters().end - classes;
  bias[0] = 3000.0;
  std::ranges::fill(targets_, 1);
  vote();
  for (const LossSums& sums : voting_.losses()) {
    EXPECT_TRUE(std::isfinite(sums.nats));
    EXPECT_GT(sums.nats, 2000.0);
  }
}

}  // namespace
}  // namespace conclave::model
