// SPDX-License-Identifier: BSD-3-Clause
#include "gating/gates.hpp"

#include "tests/support/gradient_check.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using Values = std::vector<double>;
using Kept = std::vector<char>;

Values gates(const GateRule& rule, const Values& raw, const Kept& kept) {
  Values gate(raw.size(), 99.0);
  normalise_gates<double>(rule, raw, kept, gate);
  return gate;
}

TEST(GatesTest, AreDividedByTheSumThatTheRuleNames) {
  const Values raw = {0.5, 0.375, 0.125};
  const Kept kept = {1, 0, 1};
  EXPECT_EQ(gates({Normalise::none, 1.0}, raw, kept), (Values{0.5, 0.0, 0.125}));
  EXPECT_EQ(gates({Normalise::selected, 1.0}, {1.0, 0.5, 0.5}, kept), (Values{0.5, 0.0, 0.25}));
  EXPECT_EQ(gates({Normalise::kept, 1.0}, raw, kept), (Values{0.8, 0.0, 0.2}));
  EXPECT_EQ(gates({Normalise::kept, 2.5}, raw, kept), (Values{2.0, 0.0, 0.5}));
  EXPECT_EQ(gates({Normalise::none, -2.0}, raw, kept), (Values{-1.0, 0.0, -0.25}));
  for (const Normalise normalise : {Normalise::none, Normalise::selected, Normalise::kept}) {
    EXPECT_EQ(gates({normalise, 1.0}, raw, {0, 0, 0}), (Values{0.0, 0.0, 0.0}));
  }
}

TEST(GatesTest, ASumIsTakenAsAtLeast1e9th) {
  const Values raw = {3e-10, 1e-10};
  for (const Normalise normalise : {Normalise::selected, Normalise::kept}) {
    const Values gate = gates({normalise, 1.0}, raw, {1, 1});
    EXPECT_NEAR(gate[0], 0.3, 1e-15);
    EXPECT_NEAR(gate[1], 0.1, 1e-15);
    // Held, the sum passes no gradient on: d_raw = scale d_gate / 1e-9.
    Values d_raw(2, 0.0);
    normalise_gates_backward<double>({normalise, 2.0}, raw, Kept{1, 1}, Values{3.0, -1.0}, d_raw);
    EXPECT_NEAR(d_raw[0], 6e9, 1e-5);
    EXPECT_NEAR(d_raw[1], -2e9, 1e-5);
  }
  EXPECT_EQ(gates({Normalise::selected, 1.0}, {0.0, 0.0}, {1, 1}), (Values{0.0, 0.0}));
}

TEST(GatesTest, BackwardIsTheGradientAndAdds) {
  for (const Normalise normalise : {Normalise::none, Normalise::selected, Normalise::kept}) {
    for (Index k = 1; k <= 4; ++k) {
      for (Index mask = 1; mask < Index{1} << k; ++mask) {
        SCOPED_TRACE(fmt::format("{} k {} mask {}", name_of(normalise), k, mask));
        const GateRule rule{normalise, 1.7};
        Kept kept;
        for (Index j = 0; j < k; ++j) kept.push_back(static_cast<char>(mask >> j & 1));
        Values raw = test::random_values(k, mask, 0.2, 0.5);
        for (double& r : raw) r = 0.3 + std::abs(r);
        const Values weights = test::random_values(k, 50 + mask);
        Values d_gate = weights;
        for (std::size_t j = 0; j < kept.size(); ++j) {
          if (kept[j] == 0) d_gate[j] = std::numeric_limits<double>::quiet_NaN();  // not to be looked at
        }
        Values d_raw(raw.size(), 5.0);
        normalise_gates_backward<double>(rule, raw, kept, d_gate, d_raw);
        for (double& d : d_raw) d -= 5.0;
        // A gate that is divided by itself alone does not move.
        const Index num_kept = std::count(kept.begin(), kept.end(), 1);
        const Index in_sum = normalise == Normalise::selected ? k : num_kept;
        const Index moving = normalise != Normalise::none && in_sum == 1 ? 0 : in_sum;
        test::expect_gradient(
            [&](std::span<const double> r) {
              return test::weighted_sum(weights, gates(rule, Values(r.begin(), r.end()), kept));
            },
            raw, d_raw, moving);
      }
    }
  }
}

}  // namespace
}  // namespace conclave::gating
