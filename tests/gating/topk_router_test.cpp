// SPDX-License-Identifier: BSD-3-Clause
// What only the top-k router has: ties, its parameters, logits that are not finite.
#include "gating/topk_router.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

class TopkRouterTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
};

std::unique_ptr<RouterTape<double>> route(const RouterCase& c) {
  auto tape = c.router->make_tape();
  c.router->route(ParameterView<const double>(c.values), input_of(c), *tape);
  return tape;
}

TEST_F(TopkRouterTest, EqualScoresGoToTheLowerExpertsOfTheLowerBlocks) {
  Draws draw(1);
  RouterCase c;
  c.options.experts = 12;
  c.options.top_k = 4;
  c.options.blocks = 4;
  c.options.blocks_kept = 2;
  c.options.capacity_factor = 0.5;  // ceil(0.5 * 4 * 6 / 12) = 1 slot
  c.options.min_capacity = 0;
  c.width = 3;
  c.num_tokens = 6;
  for (const Priority priority : {Priority::position, Priority::probability, Priority::best_token}) {
    RouterCase tied;
    tied.options = c.options;
    tied.options.priority = priority;
    tied.width = c.width;
    tied.num_tokens = c.num_tokens;
    fill_case(tied, draw);
    tied.x.assign(tied.x.size(), 0.0);
    const auto tape = route(tied);
    // All want experts 0 to 3; the first token is served first, under any priority that looks at scores.
    EXPECT_EQ(tape->routing.counts().load, (IndexRow{6, 6, 6, 6, 0, 0, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(tape->routing.counts().count(DropReason::over_capacity), 20);
    const std::vector<Assignment<double>> expected = {
        {0, ExpertId{0}, 0, 0.25}, {0, ExpertId{1}, 1, 0.25}, {0, ExpertId{2}, 2, 0.25}, {0, ExpertId{3}, 3, 0.25}};
    EXPECT_EQ(tape->routing.kept(), expected);
  }
}

// The message of the InputError that routing the case raises.
std::string refusal(const RouterCase& c) {
  try {
    static_cast<void>(route(c));
  } catch (const InputError& error) {
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "routed";
}

TEST_F(TopkRouterTest, LogitsThatAreNotFiniteNameStepLayerAndToken) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Scorer scorer : {Scorer::softmax, Scorer::sigmoid}) {
    Draws draw(3);
    RouterCase c;
    c.options.experts = 11;
    c.options.scorer = scorer;
    c.options.router_bias = true;
    c.width = 4;
    c.num_tokens = 6;
    c.layer = 3;
    c.step = 17;
    c.first_token = 100;
    fill_case(c, draw);
    EXPECT_EQ(refusal(c), "routed");
    for (const double bad : {infinity, -infinity, nan}) {
      const Row x = c.x;
      c.x[4 * 4 + 2] = bad;  // token 4, feature 2
      const std::string message = refusal(c);
      c.x = x;
      EXPECT_NE(message.find("step 17"), std::string::npos) << message;
      EXPECT_NE(message.find("layer 3"), std::string::npos) << message;
      EXPECT_NE(message.find("token 104"), std::string::npos) << message;
      for (Index e = 0; e < c.options.experts; ++e) {  // one expert's logit, at every place of a vector
        double& bias = c.values[static_cast<std::size_t>(c.parameters.entries()[1].tensor.offset + e)];
        const double good = bias;
        bias = bad;
        EXPECT_NE(refusal(c).find("token 100"), std::string::npos) << "bias " << bad << " of expert " << e;
        bias = good;
      }
    }
  }
}

// Where they are noted, a token whose logits are not finite is routed as one whose logits are 0.
TEST_F(TopkRouterTest, NotedLogitsThatAreNotFiniteAreTakenForZero) {
  for (const char* name : {"topk", "expert_choice"}) {
    for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
      Draws draw(3);
      RouterCase c;
      c.options.router = name;
      c.options.experts = 5;
      c.options.capacity_factor = 1.0;
      c.width = 4;
      c.num_tokens = 9;
      c.first_token = 100;
      fill_case(c, draw);
      const auto routed = [&](double value, bool notes) {
        for (const std::size_t token : {4U, 7U}) std::fill_n(c.x.begin() + 4 * static_cast<Index>(token), 4, value);
        RouterInput<double> input = input_of(c);
        input.notes_not_finite = notes;
        auto tape = c.router->make_tape();
        c.router->route(ParameterView<const double>(c.values), input, *tape);
        return tape;
      };
      const auto zero = routed(0.0, false);
      const auto noted = routed(bad, true);
      EXPECT_EQ(zero->not_finite, std::nullopt);
      EXPECT_EQ(noted->not_finite, TokenId{104});
      EXPECT_GT(noted->routing.kept().size(), 4U);
      EXPECT_TRUE(std::ranges::equal(noted->routing.kept(), zero->routing.kept())) << name;
      EXPECT_THROW(routed(bad, false), InputError);
      EXPECT_EQ(routed(1.0, true)->not_finite, std::nullopt);
    }
  }
}

TEST_F(TopkRouterTest, RegistersTheParametersThatItHas) {
  const auto names = [](bool bias, bool noise, GateKind gate = GateKind::linear, Index gate_width = 0) {
    RouterOptions options;
    options.router_bias = bias;
    options.noise = noise;
    options.gate = gate;
    options.gate_width = gate_width;
    ParameterList list;
    static_cast<void>(make_router<double>(options, 1, 5, list, "a/"));
    std::string text;
    for (const ParameterEntry& entry : list.entries()) text += fmt::format("{} {}; ", entry.name, entry.tensor.size());
    return text;
  };
  EXPECT_EQ(names(false, false), "a/router_weight 40; ");
  EXPECT_EQ(names(true, true), "a/router_weight 40; a/router_bias 8; a/noise_weight 40; ");
  EXPECT_EQ(names(false, true, GateKind::mlp, 3),
            "a/router_hidden_weight 15; a/router_hidden_bias 3; a/router_weight 24; a/noise_weight 40; ");
  EXPECT_EQ(names(true, false, GateKind::mlp),
            "a/router_hidden_weight 25; a/router_hidden_bias 5; a/router_weight 40; a/router_bias 8; ");
  EXPECT_EQ(names(true, false, GateKind::cosine, 3),
            "a/router_projection 15; a/router_projection_bias 3; a/router_weight 24; a/router_temperature 1; "
            "a/router_bias 8; ");
  EXPECT_EQ(names(false, false, GateKind::cosine),
            "a/router_projection 10; a/router_projection_bias 2; a/router_weight 16; a/router_temperature 1; ");
}

}  // namespace
}  // namespace conclave::gating
