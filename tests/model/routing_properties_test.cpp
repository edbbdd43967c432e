// SPDX-License-Identifier: BSD-3-Clause
// The distributed layer over random configurations of every router, gate, order, scope and fusion, with ranks that have
// no groups or no experts. Experts are known linear maps: expert e writes the token's payload, its feature 0, into
// feature e of the result, and nothing else. So y shows for each token which experts served it, with which weight, and
// a row that is lost, doubled, or another token's cannot hide.
#include "runtime/model/moe_layer.hpp"

#include "tests/gating/router_cases.hpp"
#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::model {
namespace {

using gating::CapacityScope;
using gating::RouterOptions;
using test::IndexRow;
using test::MoeCase;
using test::MoeRun;
using test::ReferenceInput;
using test::ReferenceRouting;
using test::Row;
using test::world;

// Each number of ranks has its own: together some hundreds, of which one rank runs them all, as messages cost it
// nothing.
constexpr Index num_configurations = 160;
Range configurations() {
  const Index first = world().size() > 1 ? world().size() * num_configurations : 0;
  return {first, world().size() > 1 ? first + num_configurations : 2 * num_configurations};
}

struct Configuration {
  MoeCase layer;
  bool training = true;
  std::vector<test::ReferenceRule> rules;
  std::vector<std::int32_t> domains;  // [tokens] or empty
  [[nodiscard]] const RouterOptions& router() const { return layer.shape.router; }
};

Configuration random_configuration(Index number) {
  test::Draws draw(60000 + number);
  Configuration c;
  RouterOptions& o = c.layer.shape.router;
  o = test::random_options(draw);
  // Some of each, whatever is drawn.
  const auto& kinds = gating::router_kinds();
  if (number % 3 == 0) o.router = kinds[static_cast<std::size_t>(number / 3 % std::ssize(kinds))].name;
  if (number % 20 == 13) o.router = "bernoulli";
  if (number % 3 == 1) {
    o.router = "topk";
    o.blocks = o.blocks_kept = 1;
    o.top_k = std::min<Index>(2, o.experts);
    o.second_policy = enum_names(gating::SecondPolicy{})[static_cast<std::size_t>(number / 24 % 4)].value;
    o.priority = enum_names(gating::Priority{})[static_cast<std::size_t>(number / 3 % 4)].value;
    o.capacity_scope = number / 12 % 2 == 0 ? CapacityScope::step : CapacityScope::group;
  }
  if (number % 2 == 1) {
    o.capacity_factor = 0.6;
    o.min_capacity = 0;
  }
  test::make_possible(o);
  c.layer.num_groups = draw.pick<Index>({0, 1, 1, 2, 3, 5, 7});
  c.layer.group_rows = draw.pick<Index>({1, 2, 5, 8, 12});
  c.layer.shape.width = std::max<Index>(4, o.experts) + draw.below(3);
  // A layer whose experts vote has no y: what they say goes to the classifier's head, one by one.
  c.layer.shape.fusion = draw.pick({Fusion::weighted, Fusion::mean, Fusion::max});
  c.layer.shape.experts.assign(static_cast<std::size_t>(o.experts),
                               {experts::ExpertKind::linear, c.layer.shape.width, 0, false});
  // All of a lone token's balanced scores are equal: rounding would decide.
  if (c.layer.group_rows == 1) o.sinkhorn_iterations = 0;
  o.c_balance = 0.5;
  o.c_z = 0.1;
  o.c_importance = 0.3;
  if (o.router == "rule") {
    c.rules = test::random_rules(draw, o.experts, o.top_k);
    o.rules = test::rules_text(c.rules, draw);
  }
  c.training = draw.below(5) != 0;
  for (Index t = 0; t < c.layer.num_tokens() && number % 2 == 0; ++t) {
    c.domains.push_back(static_cast<std::int32_t>(draw.below(4)));
  }
  gating::validate(o);
  return c;
}

std::string describe_configuration(const Configuration& c) {
  RouterOptions options = c.router();
  OptionTable table;
  describe(options, table);
  std::string text = fmt::format("groups={} rows={} width={} fusion={} training={}", c.layer.num_groups,
                                 c.layer.group_rows, c.layer.shape.width, name_of(c.layer.shape.fusion), c.training);
  for (const Option& option : table.options()) text += fmt::format(" {}={}", option.name, option.text());
  return text;
}

/// What a step gave, over all ranks, and the same on each.
struct Outcome {
  Row y;                              // [tokens, width]
  Row gradient;                       // as MoeRun::point
  Row gates;                          // [kept]
  std::vector<std::int64_t> kept;     // [kept, 3] token of the step, choice, expert
  std::vector<std::int64_t> dropped;  // [drops, 4] token of the step, choice, expert, reason
  LayerStatistics statistics;
  Row losses;  // of the statistics

  [[nodiscard]] bool has_the_bits_of(const Outcome& other) const {
    return test::same_bits<double>(y, other.y) && test::same_bits<double>(gradient, other.gradient) &&
           test::same_bits<double>(gates, other.gates) && test::same_bits<double>(losses, other.losses) &&
           kept == other.kept && dropped == other.dropped && statistics.load == other.statistics.load &&
           std::ranges::all_of(ledger_counts,
                               [&](const auto count) { return statistics.*count == other.statistics.*count; });
  }
};

/// The layer's tables of who is served and who is not.
void collect_routing(MoeRun<double>& run, const comm::Communicator& communicator, Outcome& outcome) {
  Row gates;
  std::vector<std::int64_t> kept;
  std::vector<std::int64_t> dropped;
  for (Index g = 0; g < run.step().groups.num_groups; ++g) {
    const gating::Routing<double>& routing = run.layer().routed(g).routing;
    const Index first = run.step().first_token(g).value();
    for (const auto& a : routing.kept()) {
      kept.insert(kept.end(), {first + a.token, a.choice, a.expert.value()});
      gates.push_back(a.gate);
    }
    for (const gating::Drop& d : routing.counts().drops) {
      dropped.insert(dropped.end(), {first + d.token, d.choice, d.expert.value(), static_cast<Index>(d.reason)});
    }
  }
  outcome.gates = communicator.gather_all(std::span<const double>(gates));
  outcome.kept = communicator.gather_all(std::span<const std::int64_t>(kept));
  outcome.dropped = communicator.gather_all(std::span<const std::int64_t>(dropped));
}

/// Makes expert e the map that writes feature 0 into feature e.
void set_experts(MoeRun<double>& run) {
  Row point = run.point();
  const Index width = run.of().shape.width;
  for (Index e = 0; e < run.of().shape.router.experts; ++e) {
    const Range range = run.expert_range(e);
    std::fill(point.begin() + range.begin, point.begin() + range.end, 0.0);
    point[static_cast<std::size_t>(range.begin + e * width)] = 1.0;
  }
  run.move_to(point);
}

void prepare(const Configuration& c, MoeRun<double>& run) {
  set_experts(run);
  run.step().training = c.training;
  if (c.domains.empty()) return;
  const Index rows = c.layer.group_rows;
  run.step().domains =
      std::span<const std::int32_t>(c.domains).subspan(static_cast<std::size_t>(run.step().first_group * rows),
                                                       static_cast<std::size_t>(run.step().groups.num_groups * rows));
}

Outcome outcome_of(MoeRun<double>& run, const comm::Communicator& communicator) {
  Outcome outcome;
  outcome.y = run.forward();
  outcome.statistics = run.statistics();
  const LayerStatistics& s = outcome.statistics;
  outcome.losses = {s.balance, s.z, s.importance, s.entropy};
  collect_routing(run, communicator, outcome);
  outcome.gradient = run.backward();
  return outcome;
}

/// The step by the definition, in one process.
std::vector<ReferenceRouting> reference_of(const Configuration& c, MoeRun<double>& run) {
  const Index rows = c.layer.group_rows;
  const Index width = c.layer.shape.width;
  std::vector<ReferenceInput> inputs;
  for (Index g = 0; g < c.layer.num_groups; ++g) {
    ReferenceInput in;
    in.options = c.router();
    in.x = test::rows_at(run.point(), g * rows * width, rows, width);
    test::set_parameters(in, run.replicated(), "layer/",
                         run.part({run.num_x(), run.num_x() + run.replicated().size()}));
    for (Index t = g * rows; t < (g + 1) * rows; ++t) {
      in.token_ids.push_back(run.token_ids()[static_cast<std::size_t>(t)]);
      if (!c.domains.empty()) in.domains.push_back(c.domains[static_cast<std::size_t>(t)]);
    }
    in.selection_bias.assign(run.layer().selection_bias().begin(), run.layer().selection_bias().end());
    in.rules = c.rules;
    in.seed = MoeRun<double>::seed;
    in.layer = MoeRun<double>::layer_number;
    in.step = MoeRun<double>::step_number;
    in.first_token = g * rows;
    in.training = c.training;
    inputs.push_back(in);
  }
  return test::reference_route_step(inputs);
}

void expect_routing_of(const std::vector<ReferenceRouting>& groups, Index rows, const Outcome& outcome) {
  std::vector<std::int64_t> kept;
  std::vector<std::int64_t> dropped;
  Row gates;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const ReferenceRouting& r = groups[g];
    const Index first = static_cast<Index>(g) * rows;
    for (std::size_t t = 0; t < r.serving.size(); ++t) {
      for (std::size_t j = 0; j < r.serving[t].size(); ++j) {
        if (r.serving[t][j] < 0) continue;
        kept.insert(kept.end(), {first + static_cast<Index>(t), static_cast<Index>(j), r.serving[t][j]});
        gates.push_back(r.gates[t][j]);
      }
    }
    for (const auto& [token, choice, expert, reason] : r.ledger) {
      Index number = -1;
      for (const auto& [value, name] : enum_names(gating::DropReason{})) {
        if (name == reason) number = static_cast<Index>(value);
      }
      dropped.insert(dropped.end(), {first + token, choice, expert, number});
    }
  }
  EXPECT_EQ(outcome.kept, kept);
  EXPECT_EQ(outcome.dropped, dropped);
  ASSERT_EQ(outcome.gates.size(), gates.size());
  for (std::size_t i = 0; i < gates.size(); ++i) EXPECT_NEAR(outcome.gates[i], gates[i], 1e-11) << i;
}

void expect_near(double value, double expected) {
  EXPECT_NEAR(value, expected, 1e-11 * std::max(1.0, std::abs(expected)));
}

// Statistics over ranks are sums over groups.
void expect_statistics_of(const std::vector<ReferenceRouting>& groups, const Configuration& c,
                          const LayerStatistics& s) {
  const auto num_experts = static_cast<std::size_t>(c.router().experts);
  LayerStatistics sum;
  IndexRow load(num_experts, 0), counted(num_experts, 0);
  Row probability(num_experts, 0.0);
  for (const ReferenceRouting& r : groups) {
    const Row of_group = test::reference_probability(r);
    for (std::size_t e = 0; e < num_experts; ++e) {
      load[e] += r.load[e];
      counted[e] += r.counted[e];
      probability[e] += of_group[e];
    }
    sum.over_capacity += r.over_capacity;
    sum.refused_second += r.num_refused;
    sum.unchosen += r.num_unchosen;
    sum.rerouted += r.num_rerouted;
    sum.unserved += r.num_unserved;
    sum.z += r.z_sum / static_cast<double>(c.layer.num_tokens());
    sum.entropy += r.entropy_sum / static_cast<double>(c.layer.num_tokens());
    sum.importance += r.importance / static_cast<double>(c.layer.num_groups);
    sum.balance +=
        test::reference_balance(r.counted, of_group, c.layer.group_rows) / static_cast<double>(c.layer.num_groups);
  }
  if (c.router().balance_scope == gating::BalanceScope::step) {
    sum.balance = test::reference_balance(counted, probability, c.layer.num_tokens());
  }
  EXPECT_EQ(s.tokens, c.layer.num_tokens());
  EXPECT_EQ(s.load, load);
  for (const auto count : ledger_counts) EXPECT_EQ(s.*count, sum.*count);
  expect_near(s.balance, sum.balance);
  expect_near(s.z, sum.z);
  expect_near(s.importance, sum.importance);
  expect_near(s.entropy, sum.entropy);
}

// What holds whatever the router decided: claims are kept or in the ledger, no expert is over its slots, and gates sum
// up as their options say.
void expect_consistent(const Configuration& c, const Outcome& outcome) {
  const RouterOptions& o = c.router();
  const bool over_step = o.capacity_scope == CapacityScope::step;
  const Index shared_by = over_step ? std::max<Index>(1, c.layer.num_tokens()) : c.layer.group_rows;  // tokens
  const Index capacity = test::reference_slots(o, c.training, shared_by);
  std::map<std::pair<Index, Index>, Index> rows;  // by group (0 for the step) and expert
  std::map<Index, std::pair<Index, double>> of_token;
  for (std::size_t i = 0; i < outcome.gates.size(); ++i) {
    const Index token = outcome.kept[3 * i];
    ++rows[{token / shared_by, outcome.kept[3 * i + 2]}];
    ++of_token[token].first;
    of_token[token].second += outcome.gates[i];
  }
  for (const auto& [where, count] : rows) EXPECT_LE(count, capacity) << where.first << ", " << where.second;
  std::map<Index, Index> lost;
  Index num_unchosen = 0;
  for (std::size_t i = 0; i < outcome.dropped.size(); i += 4) {
    const bool is_claim = outcome.dropped[i + 3] != static_cast<Index>(gating::DropReason::unchosen);
    if (is_claim) ++lost[outcome.dropped[i]];
    num_unchosen += is_claim ? 0 : 1;
  }
  const LayerStatistics& s = outcome.statistics;
  EXPECT_EQ(s.claims(), std::ssize(outcome.gates) + std::ssize(outcome.dropped) / 4 - num_unchosen);
  EXPECT_EQ(s.unserved, c.layer.num_tokens() - std::ssize(of_token));
  for (const auto& [token, sums] : of_token) {
    const auto& [count, gate_sum] = sums;
    const bool all_kept = lost.count(token) == 0;
    if (!test::reference_has_scores(o)) {
      EXPECT_NEAR(gate_sum, static_cast<double>(count) / static_cast<double>(count + lost[token]), 1e-15 * 8);
    } else if (o.router == "topk" && o.normalise != gating::Normalise::none) {
      if (all_kept || o.normalise == gating::Normalise::kept) {
        EXPECT_NEAR(gate_sum / o.gate_scale, 1.0, 1e-14);
      } else {
        EXPECT_LT(gate_sum / o.gate_scale, 1.0);
      }
    }
  }
}

/// One token's kept choices: experts and weights of its sum, in choice order.
struct Served {
  IndexRow experts;
  Row gates;
};

std::vector<Served> served_tokens(const Configuration& c, const Outcome& outcome) {
  std::vector<Served> tokens(static_cast<std::size_t>(c.layer.num_tokens()));
  for (std::size_t i = 0; i < outcome.gates.size(); ++i) {
    Served& token = tokens[static_cast<std::size_t>(outcome.kept[3 * i])];
    token.experts.push_back(outcome.kept[3 * i + 2]);
    token.gates.push_back(outcome.gates[i]);
  }
  return tokens;
}

/// Choice j's part of feature i of a token's result: the factor on its own result, by which its gradient comes back.
double share_of(Fusion fusion, const Served& s, std::size_t j, Index i, double payload) {
  if (fusion == Fusion::weighted) return s.gates[j];
  if (fusion == Fusion::mean) return 1.0 / static_cast<double>(s.gates.size());
  const auto result = [&](std::size_t choice) { return s.experts[choice] == i ? payload : 0.0; };
  std::size_t first = 0;
  for (std::size_t choice = 1; choice < s.experts.size(); ++choice) {
    if (result(choice) > result(first)) first = choice;
  }
  return first == j ? 1.0 : 0.0;
}

// Every kept choice enters its token's sum exactly once, and nothing else does: to the bit.
void expect_combined_once(const Configuration& c, MoeRun<double>& run, const Outcome& outcome) {
  const Index width = c.layer.shape.width;
  const std::vector<Served> tokens = served_tokens(c, outcome);
  ASSERT_EQ(std::ssize(outcome.y), c.layer.num_tokens() * width);
  for (Index t = 0; t < c.layer.num_tokens(); ++t) {
    const Served& s = tokens[static_cast<std::size_t>(t)];
    const double payload = run.point()[static_cast<std::size_t>(t * width)];
    for (Index i = 0; i < width; ++i) {
      double expected = 0.0;
      for (std::size_t j = 0; j < s.experts.size(); ++j) {
        if (s.experts[j] == i) expected += share_of(c.layer.shape.fusion, s, j, i, payload) * payload;
      }
      EXPECT_EQ(outcome.y[static_cast<std::size_t>(t * width + i)], expected) << "token " << t << ", feature " << i;
    }
  }
}

// And so on the way back: each expert's gradient is the sum over its rows, and where the router has no gradient of its
// own, so is that of each token over its choices.
void expect_gradients_once(const Configuration& c, MoeRun<double>& run, const Outcome& outcome) {
  const Index width = c.layer.shape.width;
  const Row dy = test::random_values(run.num_x(), 1);  // MoeRun's cotangent
  Row expected(run.point().size(), 0.0);
  IndexRow weights;  // where each expert's [width, width] begins
  for (Index e = 0; e < c.router().experts; ++e) weights.push_back(run.expert_range(e).begin);
  const std::vector<Served> tokens = served_tokens(c, outcome);
  for (Index t = 0; t < c.layer.num_tokens(); ++t) {
    const Served& s = tokens[static_cast<std::size_t>(t)];
    const double* x = run.point().data() + t * width;
    for (std::size_t j = 0; j < s.experts.size(); ++j) {
      const Index weight = weights[static_cast<std::size_t>(s.experts[j])];
      for (Index i = 0; i < width; ++i) {
        const double d_result =
            share_of(c.layer.shape.fusion, s, j, i, x[0]) * dy[static_cast<std::size_t>(t * width + i)];
        if (s.experts[j] == i) expected[static_cast<std::size_t>(t * width)] += d_result;
        for (Index f = 0; f < width; ++f) expected[static_cast<std::size_t>(weight + i * width + f)] += d_result * x[f];
      }
    }
  }
  const bool of_tokens = !test::reference_has_scores(c.router());
  ASSERT_EQ(outcome.gradient.size(), expected.size());
  for (Index i = of_tokens ? 0 : weights[0]; i < std::ssize(expected); ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_NEAR(outcome.gradient[at], expected[at], 1e-12 * std::max(1.0, std::abs(expected[at]))) << i;
  }
}

/// What the configurations went through: a change of how they are drawn must not empty the test.
class Coverage {
 public:
  void count(const Configuration& c, const LayerStatistics& s) {
    const RouterOptions& o = c.router();
    const auto scope = name_of(o.capacity_scope);
    ++counts_[fmt::format("fusion {}", name_of(c.layer.shape.fusion))];
    ++counts_[c.layer.num_groups == 0 ? "no groups" : "groups"];
    ++counts_[c.layer.num_groups < world().size() ? "ranks without groups" : "groups for all"];
    ++counts_[o.experts < world().size() ? "ranks without experts" : "experts for all"];
    ++counts_[c.layer.num_tokens() == 1 ? "one token" : "tokens"];
    if (c.layer.num_tokens() == 0) return;
    ++counts_["router " + o.router];
    if (test::reference_has_scores(o)) ++counts_[fmt::format("gate {}", name_of(o.gate))];
    if (s.over_capacity == 0) return;
    ++counts_[fmt::format("full in each {}: {}", scope, o.router)];
    if (o.router == "topk") ++counts_[fmt::format("full in each {}, by {}", scope, name_of(o.priority))];
    if (s.refused_second > 0) ++counts_[fmt::format("full in each {}, refused", scope)];
  }
  void expect(const std::string& what, Index least) const {
    const auto found = counts_.find(what);
    EXPECT_GE(found == counts_.end() ? 0 : found->second, least) << what;
  }

 private:
  std::map<std::string, Index> counts_;
};

void expect_coverage(const Coverage& coverage) {
  for (const auto& kind : gating::router_kinds()) coverage.expect(fmt::format("router {}", kind.name), 4);
  for (const auto& [value, name] : enum_names(Fusion{})) {
    if (value != Fusion::vote) coverage.expect(fmt::format("fusion {}", name), 20);
  }
  for (const auto& [value, name] : enum_names(gating::GateKind{})) coverage.expect(fmt::format("gate {}", name), 10);
  for (const auto& [scope, scope_name] : enum_names(CapacityScope{})) {
    for (const auto& [value, name] : enum_names(gating::Priority{})) {
      coverage.expect(fmt::format("full in each {}, by {}", scope_name, name), 1);
    }
    coverage.expect(fmt::format("full in each {}, refused", scope_name), 2);
    coverage.expect(fmt::format("full in each {}: bernoulli", scope_name), 1);
  }
  coverage.expect("no groups", 5);
  coverage.expect("one token", 3);
  if (world().size() > 1) coverage.expect("ranks without groups", 10);
  if (world().size() > 1) coverage.expect("ranks without experts", 5);
}

TEST(RoutingProperties, EveryStepIsThatOfTheDefinitionAndHasTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  ASSERT_EQ(alone.size(), 1);
  Coverage coverage;
  for (Index number = configurations().begin; number < configurations().end; ++number) {
    const Configuration c = random_configuration(number);
    SCOPED_TRACE(fmt::format("configuration {}: {}", number, describe_configuration(c)));
    MoeRun<double> run(c.layer, world());
    prepare(c, run);
    const Outcome outcome = outcome_of(run, world());
    const std::vector<ReferenceRouting> expected = reference_of(c, run);
    expect_routing_of(expected, c.layer.group_rows, outcome);
    expect_statistics_of(expected, c, outcome.statistics);
    expect_consistent(c, outcome);
    expect_combined_once(c, run, outcome);
    expect_gradients_once(c, run, outcome);

    MoeRun<double> reference(c.layer, alone);
    prepare(c, reference);
    EXPECT_TRUE(outcome.has_the_bits_of(outcome_of(reference, alone))) << "as one rank";
    if (number % 3 == 0) {
      const test::Threads use(2);
      EXPECT_TRUE(outcome.has_the_bits_of(outcome_of(run, world()))) << "on two threads";
    }
    coverage.count(c, outcome.statistics);
    if (world().any(HasFailure())) return;
  }
  expect_coverage(coverage);
}

}  // namespace
}  // namespace conclave::model
