// SPDX-License-Identifier: BSD-3-Clause
// The simulator against the times that SimGrid has found. Neither knows how the other shares.
#include "runtime/sim/bound.hpp"
#include "tests/sim/referee/case.hpp"
#include "tests/support/file_content.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave::sim {
namespace {

const std::vector<RefereeCase>& cases() {
  static const std::vector<RefereeCase> all = referee_cases(test::content_of(CONCLAVE_SIMGRID_TABLE));
  return all;
}

double bound_s(const RefereeCase& exchange) { return bound_of(Network(exchange.cluster), exchange.traffic).time_s; }

TEST(Referee, FindsTheSameTimes) {
  for (const RefereeCase& exchange : cases()) {
    EXPECT_NEAR(simulated_s(exchange), exchange.time_s, referee_tolerance * exchange.time_s) << exchange.name;
  }
}

// What users get, where ends of flows may be merged.
TEST(Referee, LeavesPricesAboveItByNoMoreThanTheirWindow) {
  Index merged = 0;
  for (const RefereeCase& exchange : cases()) {
    const ExchangePrice price =
        price_exchange(Network(exchange.cluster), exchange.traffic, {exchange.strategy, Tier::automatic});
    const double rounding = referee_tolerance * exchange.time_s;
    EXPECT_GE(price.time_s, exchange.time_s - rounding) << exchange.name;
    EXPECT_LE(price.time_s, exchange.time_s + price.window_s + rounding) << exchange.name;
    merged += price.window_s > 0.0 ? 1 : 0;
  }
  EXPECT_GT(merged, 0);
}

TEST(Referee, IsNeverBelowTheBound) {
  for (const RefereeCase& exchange : cases()) {
    EXPECT_GE(exchange.time_s, bound_s(exchange) * (1.0 - referee_tolerance)) << exchange.name;
  }
}

// Where the time is the bound it says nothing of sharing. The sparse cases' seeds are those, of some hundred, where it
// matters most.
TEST(Referee, HasCasesOfEveryKindWhereSharingMatters) {
  EXPECT_GE(cases().size(), 24U);
  std::map<FabricKind, Index> of_kind;
  for (const RefereeCase& exchange : cases()) {
    if (exchange.strategy == Strategy::flat && bound_s(exchange) < 0.99 * exchange.time_s) {
      ++of_kind[exchange.cluster.fabric.kind];
    }
  }
  for (const auto& entry : enum_names(FabricKind{})) EXPECT_GE(of_kind[entry.value], 3) << entry.name;
}

TEST(Referee, NoticesOneByteMoreInTenThousand) {
  for (const RefereeCase& exchange : cases()) {
    RefereeCase more = exchange;
    more.traffic = exchange.traffic.scaled(1.0 + 1e-4);
    EXPECT_GT(simulated_s(more), exchange.time_s * (1.0 + 10.0 * referee_tolerance)) << exchange.name;
  }
}

TEST(Referee, RefusesATableThatIsNone) {
  const std::string cluster = R"("clusters": {"c": {"nodes": 2, "nic_Bps": 1e9, "latency_s": 1e-6}})";
  const auto with = [&](const std::string& exchange) { return "{" + cluster + R"(, "cases": [)" + exchange + "]}"; };
  const std::string traffic = R"("traffic": {"pairs": [[0, 1, 5]]})";
  EXPECT_EQ(referee_cases(with(R"({"name": "a", "cluster": "c", "time_s": 1, )" + traffic + "}")).size(), 1U);
  for (const std::string& bad :
       {std::string("{}"), with(R"({"name": "a", "cluster": "d", "time_s": 1, )" + traffic + "}"),
        with(R"({"name": "a", "cluster": "c", )" + traffic + "}"),
        with(R"({"name": "a", "cluster": "c", "time_s": 1, "strategy": "none", )" + traffic + "}"),
        with(R"({"name": "a", "cluster": "c", "time_s": 1, "traffic": {"popularity": "odd", "bytes_per_rank": 1}})")}) {
    EXPECT_THROW(static_cast<void>(referee_cases(bad)), InputError) << bad;
  }
}

}  // namespace
}  // namespace conclave::sim
