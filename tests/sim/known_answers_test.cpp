// SPDX-License-Identifier: BSD-3-Clause
#include "tests/sim/known_answers.hpp"

#include "runtime/sim/step_model.hpp"

#include <gtest/gtest.h>

namespace conclave::sim {
namespace {

Popularity popularity_of(const KnownAnswer& answer, Index num_ranks) {
  return answer.popularity.empty() ? Popularity::uniform(num_ranks)
                                   : Popularity::read(answer.popularity, num_ranks, answer.name);
}

double priced_s(const KnownAnswer& answer) {
  const Network network(read_cluster(answer.cluster, answer.name));
  const Popularity popularity = popularity_of(answer, network.num_ranks());
  StepOptions step;
  OptionTable table;
  describe(step, table);
  describe(step.exchange, table);
  for (const auto& [name, value] : answer.options) table.assign(name, value);
  if (answer.simulation == "step") return price_step(network, popularity, step).time_s;
  return price_exchange(network, popularity.traffic(step.bytes_per_rank), step.exchange).time_s;
}

TEST(KnownAnswers, AreFound) {
  EXPECT_EQ(known_answers().size(), 30U + 6U + 4U);
  for (const KnownAnswer& answer : known_answers()) {
    EXPECT_NEAR(priced_s(answer), answer.time_s, answer.tolerance * answer.time_s)
        << answer.name << " " << fmt::format("{}", answer.options.back().second);
  }
}

// What the formulas come to, as the literature's units have it.
TEST(KnownAnswers, AreTheNumbersThatAreKnown) {
  const std::vector<std::pair<std::string, double>> values{{"T1 to another node", 81.0e-6},
                                                           {"T1 to the same node", 100.3e-6},
                                                           {"T2", 1.201e-3},
                                                           {"T3", 1.215e-3},
                                                           {"T4", 2.244e-3},
                                                           {"T5", 19.201e-3},
                                                           {"T6", 9.778021e-3},
                                                           {"T7", 2.241e-3},
                                                           {"T8 pairwise", 32.147e-6},
                                                           {"T8 two-phase", 10.276e-6},
                                                           {"T9", 2.430e-3},
                                                           {"T10", 4.402e-3},
                                                           {"T11", 2.655e-3},
                                                           {"T12 torus", 73.0e-6},
                                                           {"T12 dragonfly", 1.5396e-3}};
  for (const auto& [name, time_s] : values) {
    Index found = 0;
    for (const KnownAnswer& answer : known_answers()) {
      if (answer.name != name) continue;
      ++found;
      EXPECT_NEAR(answer.time_s, time_s, 5e-5 * time_s) << name;
    }
    EXPECT_GT(found, 0) << name;
  }
}

}  // namespace
}  // namespace conclave::sim
