// SPDX-License-Identifier: BSD-3-Clause
// Gate networks: logits by plain loops, gradients by central differences of a random weighting of the logits.
#include "gating/gate_network.hpp"

#include "runtime/core/gemm.hpp"
#include "tests/gating/router_cases.hpp"
#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using namespace conclave::test;

constexpr Index num_tokens = 7;
constexpr Index width = 5;
constexpr Index num_experts = 4;

/// A network with random parameters and tokens.
struct Network {
  RouterOptions options;
  ParameterList parameters;
  std::unique_ptr<GateNetwork<double>> network;
  Row point;  // parameters, then x [num_tokens, width]

  [[nodiscard]] Range range_of(const std::string& name) const {
    for (const ParameterEntry& entry : parameters.entries()) {
      if (entry.name == name) return entry.tensor.range();
    }
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  [[nodiscard]] double& at(const std::string& name) { return point[static_cast<std::size_t>(range_of(name).begin)]; }
  [[nodiscard]] ParameterView<const double> values() const {
    return ParameterView<const double>(std::span(point).first(static_cast<std::size_t>(parameters.size())));
  }
  [[nodiscard]] ConstMatrixView<double> x() const {
    return as_matrix<const double>(std::span(point).subspan(static_cast<std::size_t>(parameters.size())), num_tokens,
                                   width);
  }
  [[nodiscard]] Matrix<double> logits(GateTape<double>& tape) const {
    Matrix<double> z(num_tokens, num_experts);
    z.fill(99.0);
    network->forward(values(), x(), tape, z.view());
    return z;
  }
};

Network random_network(GateKind kind, bool bias, Index gate_width, Index number) {
  Network n;
  n.options.experts = num_experts;
  n.options.gate = kind;
  n.options.router_bias = bias;
  n.options.gate_width = gate_width;
  n.network = make_gate_network<double>(n.options, width, n.parameters, "");
  n.point = random_values(n.parameters.size() + num_tokens * width, number, 0.8);
  return n;
}

ReferenceInput reference_of(const Network& n, std::span<const double> point) {
  ReferenceInput in;
  in.options = n.options;
  set_parameters(in, n.parameters, "", point);
  in.x = rows_at(point, n.parameters.size(), num_tokens, width);
  return in;
}

class GateNetworkTest : public testing::TestWithParam<GateKind> {
 protected:
  static void SetUpTestSuite() { make_blas_single_threaded(); }
  /// Every combination of options, the temperature below and above its limit.
  static void for_each_network(const std::function<void(Network&)>& check) {
    Index number = 30;
    for (const bool bias : {false, true}) {
      for (const Index gate_width : {0, 3, 6}) {
        for (const double temperature : {-0.5, 1.2, 4.7}) {
          Network n = random_network(GetParam(), bias, gate_width, ++number);
          if (GetParam() == GateKind::cosine) n.at("router_temperature") = temperature;
          SCOPED_TRACE(fmt::format("bias {} gate_width {} temperature {}", bias, gate_width, temperature));
          check(n);
        }
      }
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Each, GateNetworkTest, testing::Values(GateKind::linear, GateKind::mlp, GateKind::cosine),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST_P(GateNetworkTest, LogitsAreThoseOfPlainLoops) {
  for_each_network([](const Network& n) {
    GateTape<double> tape;
    const Matrix<double> z = n.logits(tape);
    const ReferenceInput in = reference_of(n, n.point);
    double largest = 0.0;
    for (Index t = 0; t < num_tokens; ++t) {
      const Row expected = reference_gate(in, in.x[static_cast<std::size_t>(t)]);
      for (Index e = 0; e < num_experts; ++e) {
        const double wanted = expected[static_cast<std::size_t>(e)];
        EXPECT_NEAR(z(t, e), wanted, 1e-13 * std::max(1.0, std::abs(wanted)));
        largest = std::max(largest, std::abs(wanted));
      }
    }
    EXPECT_GT(largest, 0.3);
  });
}

TEST_P(GateNetworkTest, BackwardIsTheGradientOfTheLogits) {
  Index number = 900;
  for_each_network([&](const Network& n) {
    const Row d_logits = random_values(num_tokens * num_experts, ++number);
    const auto of_point = [&](std::span<const double> point) {
      const ReferenceInput in = reference_of(n, point);
      Row all;
      for (const Row& x : in.x) {
        const Row z = reference_gate(in, x);
        all.insert(all.end(), z.begin(), z.end());
      }
      return weighted_sum(d_logits, all);
    };
    GateTape<double> tape;
    static_cast<void>(n.logits(tape));
    const double before = 0.25;  // gradients are added to what is there
    Row gradient(n.point.size(), before);
    const auto num_values = static_cast<std::size_t>(n.parameters.size());
    n.network->backward(n.values(), n.x(), tape, as_matrix<const double>(d_logits, num_tokens, num_experts),
                        as_matrix(std::span(gradient).subspan(num_values), num_tokens, width),
                        ParameterView<double>(std::span(gradient).first(num_values)));
    for (double& derivative : gradient) derivative -= before;
    expect_gradient(of_point, n.point, gradient);
  });
}

TEST(CosineGateTest, TheTemperatureStopsAtItsLimit) {
  make_blas_single_threaded();
  Network n = random_network(GateKind::cosine, false, 3, 11);
  GateTape<double> tape;
  const Row d_logits = random_values(num_tokens * num_experts, 12);
  const auto temperature_gradient = [&](double temperature) {
    n.at("router_temperature") = temperature;
    static_cast<void>(n.logits(tape));
    Row gradient(n.point.size(), 0.0);
    const auto num_values = static_cast<std::size_t>(n.parameters.size());
    n.network->backward(n.values(), n.x(), tape, as_matrix<const double>(d_logits, num_tokens, num_experts),
                        as_matrix(std::span(gradient).subspan(num_values), num_tokens, width),
                        ParameterView<double>(std::span(gradient).first(num_values)));
    return gradient[static_cast<std::size_t>(n.range_of("router_temperature").begin)];
  };
  const double limit = std::log(100.0);
  EXPECT_GT(std::abs(temperature_gradient(limit - 0.01)), 1.0);
  EXPECT_EQ(temperature_gradient(limit + 0.01), 0.0);
  n.at("router_temperature") = limit + 3.0;
  const Matrix<double> hot = n.logits(tape);
  n.at("router_temperature") = limit;
  const Matrix<double> at_limit = n.logits(tape);
  EXPECT_TRUE(same_bits<double>(hot.flat(), at_limit.flat()));
  double largest = 0.0;
  for (const double z : hot.flat()) largest = std::max(largest, std::abs(z));
  EXPECT_LE(largest, 100.0 * (1.0 + 1e-14));
  EXPECT_GT(largest, 50.0);
}

// A token or an expert without a direction is as far from all others.
TEST(CosineGateTest, WithoutADirectionTheLogitIsTheBias) {
  make_blas_single_threaded();
  Network n = random_network(GateKind::cosine, true, 3, 13);
  const auto clear = [&](Range range) { std::fill(n.point.begin() + range.begin, n.point.begin() + range.end, 0.0); };
  clear(n.range_of("router_projection_bias"));
  const Index first_x = n.parameters.size();
  clear({first_x + 2 * width, first_x + 3 * width});  // token 2
  const Index first_m = n.range_of("router_weight").begin;
  clear({first_m + 3, first_m + 6});  // expert 1
  GateTape<double> tape;
  const Matrix<double> z = n.logits(tape);
  const Index bias = n.range_of("router_bias").begin;
  for (Index t = 0; t < num_tokens; ++t) {
    for (Index e = 0; e < num_experts; ++e) {
      const double b = n.point[static_cast<std::size_t>(bias + e)];
      EXPECT_EQ(z(t, e) == b, t == 2 || e == 1) << t << ", " << e;
    }
  }
  const Row d_logits = random_values(num_tokens * num_experts, 14);
  Row gradient(n.point.size(), 0.0);
  const auto num_values = static_cast<std::size_t>(n.parameters.size());
  n.network->backward(n.values(), n.x(), tape, as_matrix<const double>(d_logits, num_tokens, num_experts),
                      as_matrix(std::span(gradient).subspan(num_values), num_tokens, width),
                      ParameterView<double>(std::span(gradient).first(num_values)));
  EXPECT_TRUE(std::all_of(gradient.begin(), gradient.end(), [](double d) { return std::isfinite(d); }));
}

TEST(GateNetwork, OfNoTokens) {
  make_blas_single_threaded();
  for (const auto& [kind, name] : enum_names(GateKind{})) {
    SCOPED_TRACE(name);
    const Network n = random_network(kind, true, 3, 15);
    GateTape<double> tape;
    n.network->forward(n.values(), {nullptr, 0, width, width}, tape, {nullptr, 0, num_experts, num_experts});
    Row gradient(static_cast<std::size_t>(n.parameters.size()), 2.0);
    n.network->backward(n.values(), {nullptr, 0, width, width}, tape, {nullptr, 0, num_experts, num_experts},
                        {nullptr, 0, width, width}, ParameterView<double>(gradient));
    EXPECT_EQ(gradient, Row(gradient.size(), 2.0));
  }
}

}  // namespace
}  // namespace conclave::gating
