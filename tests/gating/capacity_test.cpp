// SPDX-License-Identifier: BSD-3-Clause
#include "gating/capacity.hpp"

#include "tests/gating/router_cases.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

Index standard_capacity(double factor, double choices, Index num_tokens, Index num_experts, Index least) {
  return expert_capacity(CapacityFormula::standard, factor, choices, num_tokens, num_experts, least);
}

TEST(CapacityTest, IsTheFormula) {
  // cf, k, S, E, min_capacity
  EXPECT_EQ(standard_capacity(1.0, 2.0, 64, 8, 0), 16);
  EXPECT_EQ(standard_capacity(1.25, 2.0, 64, 8, 0), 20);
  EXPECT_EQ(standard_capacity(1.0, 2.0, 65, 8, 0), 17) << "16.25 is rounded up";
  EXPECT_EQ(standard_capacity(0.5, 1.0, 3, 8, 0), 1);
  EXPECT_EQ(standard_capacity(2.0, 1.5, 10, 5, 0), 6) << "a mean number of choices need not be whole";
  EXPECT_EQ(standard_capacity(1.0, 1.0, 7, 1, 0), 7);
}

TEST(CapacityTest, NoFactorIsNoLimit) {
  EXPECT_EQ(standard_capacity(0.0, 2.0, 64, 8, 0), 64);
  EXPECT_EQ(standard_capacity(0.0, 2.0, 64, 8, 4), 64);
  EXPECT_EQ(standard_capacity(0.0, 2.0, 0, 8, 4), 0);
}

TEST(CapacityTest, NeverBelowTheLeastNorAboveTheTokens) {
  EXPECT_EQ(standard_capacity(1.0, 1.0, 16, 16, 4), 4);
  EXPECT_EQ(standard_capacity(1.0, 1.0, 64, 8, 4), 8);
  EXPECT_EQ(standard_capacity(1.0, 1.0, 3, 16, 4), 3);
  EXPECT_EQ(standard_capacity(1.0, 1.0, 1, 16, 4), 1);
  EXPECT_EQ(standard_capacity(1.0, 1.0, 0, 16, 4), 0);
  EXPECT_EQ(standard_capacity(100.0, 2.0, 64, 8, 0), 64);
}

TEST(CapacityTest, HugeAndTinyFactors) {
  EXPECT_EQ(standard_capacity(1e300, 2.0, 64, 8, 0), 64);
  EXPECT_EQ(standard_capacity(1e30, 2.0, 64, 8, 4), 64);
  EXPECT_EQ(standard_capacity(1e-300, 2.0, 64, 8, 0), 1);
  EXPECT_EQ(standard_capacity(1e-9, 1.0, 64, 8, 4), 4);
}

// The same capacity factor, as systems understand it. 1000 tokens, 64 experts, top-2, factor 1.25.
TEST(CapacityTest, OfEachSystem) {
  const auto slots = [](CapacityFormula formula, Index num_tokens) {
    return expert_capacity(formula, 1.25, 2.0, num_tokens, 64, 0);
  };
  EXPECT_EQ(slots(CapacityFormula::standard, 1000), 40);
  EXPECT_EQ(slots(CapacityFormula::mesh, 1000), 19);
  EXPECT_EQ(slots(CapacityFormula::lingvo, 1000), 20);
  EXPECT_EQ(slots(CapacityFormula::flaxformer, 1000), 20);
  EXPECT_EQ(slots(CapacityFormula::deepspeed, 1000), 40);
  EXPECT_EQ(slots(CapacityFormula::tutel, 1000), 40);
  EXPECT_EQ(slots(CapacityFormula::fastmoe, 1000), 39);
  EXPECT_EQ(slots(CapacityFormula::megatron, 1000), 40);
  EXPECT_EQ(slots(CapacityFormula::megablocks, 1000), 39);
  // What tells them apart elsewhere.
  EXPECT_EQ(slots(CapacityFormula::tutel, 1030), 42) << "2 int(1.25 * 17)";
  EXPECT_EQ(slots(CapacityFormula::standard, 1030), 41) << "ceil(40.23)";
  EXPECT_EQ(slots(CapacityFormula::lingvo, 30), 4) << "0 becomes 4";
  EXPECT_EQ(slots(CapacityFormula::mesh, 30), 0);
  EXPECT_EQ(slots(CapacityFormula::flaxformer, 32), 1) << "0.625 is rounded up";
  EXPECT_EQ(slots(CapacityFormula::megablocks, 25), 25) << "0 is no limit";
}

TEST(CapacityTest, EqualsTheReferenceOnRandomNumbers) {
  std::array<Index, 9> num_between{};
  std::array<Index, 9> num_fractional{};  // with a k that is no whole number
  for (Index number = 0; number < 6000; ++number) {
    test::Draws draw(number);
    const auto formula = draw.any<CapacityFormula>();
    const double factor = draw.yes() ? 0.25 * static_cast<double>(draw.below(13)) : 3.0 * draw.uniform();
    const bool is_fractional = draw.below(3) == 0;
    const double choices = is_fractional ? 4.0 * draw.uniform() : static_cast<double>(1 + draw.below(4));
    const Index num_tokens = draw.below(100);
    const Index num_experts = 1 + draw.below(20);
    const Index least = draw.below(6);
    const Index capacity = expert_capacity(formula, factor, choices, num_tokens, num_experts, least);
    ASSERT_EQ(capacity, test::reference_capacity(formula, factor, choices, num_tokens, num_experts, least))
        << fmt::format("{}: cf {} k {} S {} E {} least {}", name_of(formula), factor, choices, num_tokens, num_experts,
                       least);
    if (capacity == least || capacity == num_tokens) continue;
    ++num_between[static_cast<std::size_t>(formula)];
    num_fractional[static_cast<std::size_t>(formula)] += is_fractional ? 1 : 0;
  }
  for (const auto& [formula, name] : enum_names(CapacityFormula{})) {
    EXPECT_GT(num_between[static_cast<std::size_t>(formula)], 150) << name;
    EXPECT_GT(num_fractional[static_cast<std::size_t>(formula)], 40) << name;
  }
}

// Under every formula.
TEST(CapacityTest, BordersOfTheFactor) {
  for (const auto& [formula, name] : enum_names(CapacityFormula{})) {
    SCOPED_TRACE(name);
    EXPECT_EQ(expert_capacity(formula, 0.0, 2.0, 64, 8, 4), 64) << "0 is no limit";
    EXPECT_EQ(expert_capacity(formula, 1.0, 2.0, 0, 8, 4), 0) << "no tokens, no slots";
    EXPECT_EQ(expert_capacity(formula, 1e300, 2.0, 64, 8, 4), 64);
    EXPECT_EQ(expert_capacity(formula, 1e-300, 2.0, 64, 8, 7), formula == CapacityFormula::megablocks ? 64 : 7);
  }
}

}  // namespace
}  // namespace conclave::gating
