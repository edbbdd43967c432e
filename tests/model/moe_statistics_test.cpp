// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/model/step_report.hpp"

#include "runtime/model/drop_ledger.hpp"

#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using experts::ExpertKind;
using test::MoeCase;
using test::MoeRun;
using test::world;

MoeCase make_case(std::string name, Index num_experts, Index top_k) {
  MoeCase c{std::move(name), {8, {}, {}, {}, 1.0}, 5, 9};
  c.shape.router.experts = num_experts;
  c.shape.router.top_k = top_k;
  c.shape.router.capacity_factor = 0.8;
  c.shape.router.min_capacity = 0;
  c.shape.experts.assign(static_cast<std::size_t>(num_experts), {ExpertKind::gelu, 8, 5, false});
  return c;
}

MoeCase over_group() { return make_case("over_group", 4, 2); }

MoeCase over_step() {
  MoeCase c = make_case("over_step", 7, 3);
  c.shape.router.balance_scope = gating::BalanceScope::step;
  c.shape.router.scorer = gating::Scorer::sigmoid;
  return c;
}

MoeCase first_over_group() {
  MoeCase c = make_case("first_over_group", 3, 2);
  c.shape.router.balance_count = gating::BalanceCount::first;
  c.shape.router.second_policy = gating::SecondPolicy::random;
  return c;
}

MoeCase first_over_step() {
  MoeCase c = make_case("first_over_step", 2, 2);
  c.shape.router.balance_count = gating::BalanceCount::first;
  c.shape.router.balance_scope = gating::BalanceScope::step;
  return c;
}

/// One token's view of the router, from the formulas.
struct Seen {
  std::vector<double> pi;     // [experts]
  std::vector<double> gate;   // [experts] of all choices, normalised over them; 0 for the others
  std::vector<Index> chosen;  // best first
  double log_sum_exp = 0.0;
};

Seen look(MoeRun<double>& run, Index token) {
  const MoeShape& shape = run.of().shape;
  const auto num_experts = static_cast<std::size_t>(shape.router.experts);
  const std::span<const double> x = run.part({token * shape.width, (token + 1) * shape.width});
  const Index weights = run.num_x() + run.replicated().entries().front().tensor.offset;
  std::vector<double> p;
  double sum_exp = 0.0;
  for (std::size_t e = 0; e < num_experts; ++e) {
    const Index row = weights + static_cast<Index>(e) * shape.width;
    const double z = test::weighted_sum(run.part({row, row + shape.width}), x);
    sum_exp += std::exp(z);
    p.push_back(shape.router.scorer == gating::Scorer::softmax ? std::exp(z) : 1.0 / (1.0 + std::exp(-z)));
  }
  Seen seen{p, std::vector<double>(num_experts, 0.0), {}, std::log(sum_exp)};
  double total = 0.0;
  for (const double v : p) total += v;
  for (double& v : seen.pi) v /= total;
  double chosen_total = 0.0;
  for (Index j = 0; j < shape.router.top_k; ++j) {
    const auto best = std::max_element(p.begin(), p.end());
    const auto e = best - p.begin();
    chosen_total += *best;
    seen.chosen.push_back(e);
    seen.gate[static_cast<std::size_t>(e)] = *best;
    *best = -1.0;
  }
  for (double& v : seen.gate) v /= chosen_total;
  return seen;
}

/// E sum_e (n_e / N) mean_t(pi) over the tokens [first, last), and the rest of what a router reports about them.
struct Sums {
  std::vector<Index> load;
  double balance = 0.0;
  double z = 0.0;
  double importance = 0.0;
  double entropy = 0.0;
};

Sums sums_over(MoeRun<double>& run, Range tokens) {
  const gating::RouterOptions& options = run.of().shape.router;
  const auto num_experts = static_cast<std::size_t>(options.experts);
  const auto count = static_cast<double>(tokens.size());
  Sums sums{std::vector<Index>(num_experts, 0)};
  std::vector<double> counted(num_experts, 0.0);
  std::vector<double> pi(num_experts, 0.0);
  std::vector<double> gates(num_experts, 0.0);
  for (Index t = tokens.begin; t < tokens.end; ++t) {
    const Seen seen = look(run, t);
    sums.z += seen.log_sum_exp * seen.log_sum_exp / count;
    for (std::size_t e = 0; e < num_experts; ++e) {
      pi[e] += seen.pi[e] / count;
      gates[e] += seen.gate[e];
      sums.entropy -= seen.pi[e] * std::log(seen.pi[e]) / count;
    }
    for (const Index e : seen.chosen) ++sums.load[static_cast<std::size_t>(e)];
    const bool first_only = options.balance_count == gating::BalanceCount::first;
    for (Index j = 0; j < (first_only ? 1 : options.top_k); ++j) {
      counted[static_cast<std::size_t>(seen.chosen[static_cast<std::size_t>(j)])] +=
          1.0 / (first_only ? 1.0 : static_cast<double>(options.top_k));
    }
  }
  const auto n = static_cast<double>(num_experts);
  double mean = 0.0;
  double square = 0.0;
  for (std::size_t e = 0; e < num_experts; ++e) {
    sums.balance += n * counted[e] / count * pi[e];
    mean += gates[e] / n;
    square += gates[e] * gates[e] / n;
  }
  sums.importance = (square - mean * mean) / (mean * mean);
  return sums;
}

void expect_direct_sums(const LayerStatistics& s, MoeRun<double>& run) {
  const MoeCase& c = run.of();
  const Sums whole = sums_over(run, {0, c.num_tokens()});
  double balance = 0.0;
  double importance = 0.0;
  Index kept = 0;
  Index over_capacity = 0;
  Index unserved = 0;
  for (Index g = 0; g < c.num_groups; ++g) {
    const Sums of_group = sums_over(run, {g * c.group_rows, (g + 1) * c.group_rows});
    balance += of_group.balance / static_cast<double>(c.num_groups);
    importance += of_group.importance / static_cast<double>(c.num_groups);
  }
  for (Index g = 0; g < run.step().groups.num_groups; ++g) {
    kept += static_cast<Index>(run.layer().routed(g).routing.kept().size());
    for (Index t = 0; t < c.group_rows; ++t) unserved += run.layer().routed(g).routing.kept_of(t).empty() ? 1 : 0;
    over_capacity += run.layer().routed(g).routing.counts().count(gating::DropReason::over_capacity);
  }
  if (c.shape.router.balance_scope == gating::BalanceScope::step) {
    EXPECT_GT(std::abs(balance - whole.balance), 1e-3) << "the scopes cannot be told apart";
    balance = whole.balance;
  }
  EXPECT_EQ(s.tokens, c.num_tokens());
  EXPECT_EQ(s.load, whole.load);
  EXPECT_EQ(s.claims(), c.num_tokens() * c.shape.router.top_k);
  EXPECT_EQ(s.over_capacity, world().sum(over_capacity));
  EXPECT_EQ(s.claims() - s.over_capacity - s.refused_second, world().sum(kept));
  EXPECT_GT(s.over_capacity, 0);
  EXPECT_EQ(s.unserved, world().sum(unserved));
  EXPECT_EQ(s.refused_second > 0, c.shape.router.second_policy == gating::SecondPolicy::random);
  constexpr double tolerance = 1e-12;
  EXPECT_NEAR(s.balance, balance, tolerance);
  EXPECT_NEAR(s.z, whole.z, tolerance);
  EXPECT_NEAR(s.importance, importance, tolerance);
  EXPECT_NEAR(s.entropy, whole.entropy, tolerance);
  EXPECT_GT(s.importance, 1e-3);
}

TEST(MoeStatistics, AreTheDirectSumsForLayersOfAnyKindTogether) {
  MoeRun<double> a(over_group(), world(), 1);
  MoeRun<double> b(over_step(), world(), 2);
  MoeRun<double> c(first_over_group(), world(), 3);
  MoeRun<double> d(first_over_step(), world(), 4);
  std::vector<const MoeLayer<double>*> layers;
  for (MoeRun<double>* run : {&a, &b, &c, &d}) {
    static_cast<void>(run->forward());
    layers.push_back(&run->layer());
  }
  const std::vector<LayerStatistics> all = collect_statistics<double>(world(), a.step(), layers);
  ASSERT_EQ(all.size(), 4U);
  std::size_t i = 0;
  for (MoeRun<double>* run : {&a, &b, &c, &d}) {
    SCOPED_TRACE(run->of().name);
    expect_direct_sums(all[i++], *run);
  }
}

// Two layers' entries, seen whole on every rank, are those of one rank, in order, and as many as the counts say.
TEST(DropLedger, IsThatOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  const auto ledger = [](MoeRun<float>& a, MoeRun<float>& b, const comm::Communicator& communicator) {
    static_cast<void>(a.forward());
    static_cast<void>(b.forward());
    const std::vector<const MoeLayer<float>*> layers{&a.layer(), &b.layer()};
    return collect_drops<float>(communicator, a.step(), layers);
  };
  MoeRun<float> a(over_group(), world(), 1), b(first_over_step(), world(), 2);
  MoeRun<float> a_alone(over_group(), alone, 1), b_alone(first_over_step(), alone, 2);
  const std::vector<DropRecord> drops = ledger(a, b, world());
  EXPECT_EQ(drops, ledger(a_alone, b_alone, alone));
  EXPECT_TRUE(
      std::ranges::is_sorted(drops, {}, [](const DropRecord& d) { return std::tuple(d.layer, d.token, d.choice); }));
  const auto count = [&](Index layer, gating::DropReason reason) {
    return std::ranges::count_if(drops, [&](const DropRecord& d) { return d.layer == layer && d.reason == reason; });
  };
  Index layer = 0;
  for (MoeRun<float>* run : {&a, &b}) {
    const LayerStatistics s = run->statistics();
    EXPECT_GT(s.over_capacity, 0);
    EXPECT_EQ(count(layer, gating::DropReason::over_capacity), s.over_capacity);
    EXPECT_EQ(count(layer, gating::DropReason::refused_second), s.refused_second);
    ++layer;
  }
}

TEST(DropLedger, OfExpertChoiceNamesTheTokensThatNobodyTook) {
  MoeCase c = over_group();
  c.shape.router.router = "expert_choice";
  c.shape.router.capacity_factor = 0.3;
  c.shape.router.priority = gating::Priority::position;
  c.shape.router.overflow = gating::Overflow::drop;
  MoeRun<double> run(c, world());
  const std::vector<double> y = run.forward();
  const LayerStatistics s = run.statistics();
  ASSERT_GT(s.unchosen, 0);
  EXPECT_EQ(s.unchosen, s.unserved);
  EXPECT_EQ(s.drop_rate(), 0.0);
  const auto drops = collect_drops<double>(world(), run.step(), {&run.layer()});
  EXPECT_EQ(std::ssize(drops), s.unchosen);
  for (const DropRecord& d : drops) {
    EXPECT_EQ(d.reason, gating::DropReason::unchosen);
    EXPECT_EQ(d.expert, -1);
    const auto row = std::span(y).subspan(static_cast<std::size_t>(d.token * c.shape.width),
                                          static_cast<std::size_t>(c.shape.width));
    if (c.shape.shared.empty()) {
      EXPECT_TRUE(std::ranges::all_of(row, [](double v) { return v == 0.0; })) << "token " << d.token;
    }
  }
}

TEST(MoeStatistics, HaveTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  for (const MoeCase& c : {over_group(), over_step(), first_over_group(), first_over_step()}) {
    SCOPED_TRACE(c.name);
    MoeRun<float> run(c, world());
    MoeRun<float> reference(c, alone);
    static_cast<void>(run.forward());
    static_cast<void>(reference.forward());
    const LayerStatistics got = run.statistics();
    const LayerStatistics expected = reference.statistics();
    EXPECT_EQ(got.load, expected.load);
    EXPECT_EQ(got.over_capacity, expected.over_capacity);
    EXPECT_EQ(got.refused_second, expected.refused_second);
    EXPECT_EQ(got.balance, expected.balance);
    EXPECT_EQ(got.z, expected.z);
    EXPECT_EQ(got.importance, expected.importance);
    EXPECT_EQ(got.entropy, expected.entropy);
  }
}

TEST(MoeStatistics, OfNoGroupsAreZero) {
  for (const MoeCase& c : {over_group(), over_step()}) {
    MoeRun<double> run(test::with_groups(c, 0), world());
    EXPECT_TRUE(run.forward().empty());
    const LayerStatistics s = run.statistics();
    EXPECT_EQ(s.tokens, 0);
    EXPECT_EQ(s.load, std::vector<Index>(static_cast<std::size_t>(c.shape.router.experts), 0));
    EXPECT_EQ(s.drop_rate(), 0.0);
    EXPECT_EQ(s.imbalance(), 1.0);
    EXPECT_EQ(s.weighted_loss(c.shape.router), 0.0);
  }
}

TEST(MoeStatistics, OfNoLayersAreNone) {
  PhaseTimes times;
  const Range mine = even_share(1, world().size(), world().rank().value());
  EXPECT_TRUE(collect_statistics<float>(world(), {0, true, 1, 1, mine.begin, {mine.size(), 4}, &times}, {}).empty());
}

TEST(MoeStatistics, RatesAndTheWeightedLoss) {
  LayerStatistics s;
  s.load = {6, 1, 3, 2};
  s.over_capacity = 2;
  s.refused_second = 1;
  s.balance = 1.5;
  s.z = 4.0;
  s.importance = 0.25;
  EXPECT_EQ(s.claims(), 12);
  EXPECT_DOUBLE_EQ(s.drop_rate(), 0.25);
  EXPECT_DOUBLE_EQ(s.imbalance(), 2.0);
  EXPECT_EQ(s.dead_experts(), 0);
  s.tokens = 6;
  s.unserved = 3;
  EXPECT_DOUBLE_EQ(s.unserved_rate(), 0.5);
  gating::RouterOptions options;
  options.c_balance = 2.0;
  options.c_z = 0.5;
  options.c_importance = 8.0;
  EXPECT_DOUBLE_EQ(s.weighted_loss(options), 7.0);
}

TEST(MoeStatistics, EffectiveExpertsAreThoseOfAnEvenLoad) {
  LayerStatistics s;
  s.load = {5, 5, 5, 5};
  EXPECT_NEAR(s.effective_experts(), 4.0, 1e-12);
  s.load = {7, 0, 7, 0};
  EXPECT_NEAR(s.effective_experts(), 2.0, 1e-12);
  EXPECT_EQ(s.dead_experts(), 2);
  s.load = {0, 9, 0, 0};
  EXPECT_NEAR(s.effective_experts(), 1.0, 1e-12);
  s.load = {0, 0, 0, 0};
  EXPECT_EQ(s.effective_experts(), 4.0) << "nothing was asked for: nothing has collapsed";
}

TEST(MoeStatistics, AddUpCountsAndWeighMeansByTokens) {
  const LayerStatistics a{10, {3, 4}, 1, 2, 3, 4, 5, 1.0, 2.0, 3.0, 4.0};
  const LayerStatistics b{30, {5, 1}, 4, 8, 1, 2, 7, 5.0, 6.0, 9.0, 2.0};
  const LayerStatistics empty{0, {0, 0}, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0};
  LayerStatistics sum;
  for (const LayerStatistics& pass : {a, empty, b}) sum.add(pass);
  EXPECT_EQ(sum.tokens, 40);
  EXPECT_EQ(sum.load, (std::vector<Index>{8, 5}));
  EXPECT_EQ(sum.over_capacity, 5);
  EXPECT_EQ(sum.refused_second, 10);
  EXPECT_EQ(sum.unchosen, 4);
  EXPECT_EQ(sum.rerouted, 6);
  EXPECT_EQ(sum.unserved, 12);
  EXPECT_DOUBLE_EQ(sum.balance, 4.0);
  EXPECT_DOUBLE_EQ(sum.z, 5.0);
  EXPECT_DOUBLE_EQ(sum.importance, 7.5);
  EXPECT_DOUBLE_EQ(sum.entropy, 2.5);
  const LayerStatistics other{8, {1, 2, 3}, 0, 0, 0, 0, 0, 0.5, 0.25, 0.125, 1.0};
  EXPECT_THROW(sum.add(other), InvariantError);
  sum.forget();
  EXPECT_EQ(sum.tokens, 0);
  sum.add(other);
  EXPECT_EQ(sum.load, other.load);
  EXPECT_EQ(sum.importance, other.importance);
  LayerStatistics none;
  none.add(empty);
  none.add(empty);
  EXPECT_EQ(none.load, empty.load);
  EXPECT_EQ(none.balance, 0.0);
}

// Passes of unlike sizes, some of which leave ranks without a group.
TEST(StepReport, BringsLossesAndRanksNumbersTogether) {
  PhaseTimes times;
  StepReport<double> report(world(), {});
  const double rank = static_cast<double>(world().rank().value());
  for (int use = 0; use < 2; ++use) {
    std::vector<double> expected;
    for (const Index num_groups : {5, 0, 1, 7}) {
      const Range mine = even_share(num_groups, world().size(), world().rank().value());
      std::vector<LossSums> losses;
      for (Index g = 0; g < num_groups; ++g) {
        expected.push_back(1.0 / static_cast<double>(3 + 2 * std::ssize(expected) + use));
        if (mine.contains(g)) losses.push_back({expected.back(), 0});
      }
      report.add_pass({0, true, num_groups, num_groups, mine.begin, {mine.size(), 4}, &times}, losses);
    }
    const std::vector<double> of_rank{rank, 2.0 * rank + use};
    report.share(of_rank);
    EXPECT_EQ(report.nats(), tree_sum(expected));
    EXPECT_GT(report.nats(), 1.0);
    EXPECT_TRUE(report.layers().empty());
    for (Index r = 0; r < world().size(); ++r) {
      const auto told = report.of_rank(RankId{r});
      ASSERT_EQ(told.size(), 2U);
      EXPECT_EQ(told[0], static_cast<double>(r));
      EXPECT_EQ(told[1], static_cast<double>(2 * r + use));
    }
  }
}

// Passes told together are the passes told one by one, added up.
TEST(StepReport, AddsUpPasses) {
  MoeRun<double> a(over_group(), world(), 1);
  MoeRun<double> b(first_over_step(), world(), 2);
  StepReport<double> report(world(), {&a.layer(), &b.layer()});
  std::vector<LayerStatistics> expected(2);
  const auto pass = [&] {
    static_cast<void>(a.forward());
    static_cast<void>(b.forward());
    report.add_pass(a.step(), {});
    expected[0].add(a.statistics());
    expected[1].add(b.statistics());
  };
  for (int use = 0; use < 2; ++use) {
    for (LayerStatistics& s : expected) s.forget();
    pass();
    std::vector<double> other = a.point();
    for (double& value : other) value *= -0.5;
    a.move_to(other);
    pass();
    report.share();
    ASSERT_EQ(report.layers().size(), 2U);
    for (std::size_t l = 0; l < 2; ++l) {
      const LayerStatistics& got = report.layers()[l];
      EXPECT_EQ(got.tokens, expected[l].tokens);
      EXPECT_EQ(got.load, expected[l].load);
      EXPECT_EQ(got.over_capacity, expected[l].over_capacity);
      EXPECT_EQ(got.balance, expected[l].balance);
      EXPECT_EQ(got.z, expected[l].z);
      EXPECT_EQ(got.importance, expected[l].importance);
      EXPECT_EQ(got.entropy, expected[l].entropy);
    }
    EXPECT_EQ(report.nats(), 0.0);
  }
}

}  // namespace
}  // namespace conclave::model
