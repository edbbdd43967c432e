// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/exchange.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/comm/patterns.hpp"
#include "tests/support/exchanged.hpp"
#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

/// Uses of an inbox until a choice is made; how many it took.
Index use_until_chosen(const Exchange& exchange, Inbox& inbox, std::size_t num_choices) {
  const auto shape = test::shape_of(test::patterns()[1], test::Arrangement::dispatch);
  const Matrix<double> rows = test::rows_of<double>(shape, 5, true);
  Index uses = 0;
  while (exchange.choices().size() < num_choices && uses < 100) {
    static_cast<void>(test::exchanged<double>(inbox, shape, rows));
    ++uses;
  }
  return uses;
}

TEST(AutoExchange, ChoosesAFastOneOfThoseItMeasuredAndSaysSo) {
  for (const test::Nodes nodes : test::all_nodes) {
    const auto exchange = make_exchange("auto", world(), test::topology_of(nodes));
    const auto first = exchange->make_inbox("first");
    const auto second = exchange->make_inbox("second");
    EXPECT_TRUE(exchange->choices().empty());
    EXPECT_LT(use_until_chosen(*exchange, *first, 1), 100);
    EXPECT_LT(use_until_chosen(*exchange, *second, 2), 100);
    const std::span<const ExchangeChoice> choices = exchange->choices();
    ASSERT_EQ(choices.size(), 2U);
    EXPECT_EQ(choices[0].inbox, "first");
    EXPECT_EQ(choices[1].inbox, "second");
    for (const ExchangeChoice& choice : choices) {
      std::set<std::string> seen;
      double least = 1e30;
      double chosen = 0.0;
      for (const auto& candidate : choice.measured) {
        EXPECT_GT(candidate.seconds, 0.0);
        EXPECT_TRUE(seen.insert(candidate.strategy).second) << candidate.strategy << " twice";
        if (candidate.strategy == choice.strategy) chosen = candidate.seconds;
        least = std::min(least, candidate.seconds);
      }
      EXPECT_LE(chosen, 1.1 * least);
      const bool alone = world().size() == 1;
      EXPECT_EQ(chosen > 0.0, !alone) << choice.strategy << " was not measured";
      EXPECT_EQ(seen.contains("shared"), !alone);
      EXPECT_EQ(seen.contains("bruck"), !alone) << "the messages are small";
      EXPECT_EQ(seen.contains("hierarchical"), exchange->topology().num_nodes() > 1);
    }
  }
}

TEST(AutoExchange, ComesToTheSameOnEveryRank) {
  const auto exchange = make_exchange("auto", world());
  const auto inbox = exchange->make_inbox("test");
  use_until_chosen(*exchange, *inbox, 1);
  std::string told;
  for (const ExchangeChoice& choice : exchange->choices()) {
    told += choice.strategy;
    for (const auto& candidate : choice.measured) told += fmt::format(" {}={}", candidate.strategy, candidate.seconds);
  }
  EXPECT_EQ(world().broadcast(told), told);
  EXPECT_FALSE(told.empty());
}

TEST(AutoExchange, DoesNotTryBruckOnLargeMessages) {
  if (world().size() == 1) GTEST_SKIP() << "nothing travels";
  const auto exchange = make_exchange("auto", world());
  const auto inbox = exchange->make_inbox("test");
  const auto shape = test::shape_of(test::patterns()[7], test::Arrangement::dispatch);
  const Matrix<double> rows = test::rows_of<double>(shape, 8, true);
  while (exchange->choices().empty()) static_cast<void>(test::exchanged<double>(*inbox, shape, rows));
  for (const auto& candidate : exchange->choices().front().measured) EXPECT_NE(candidate.strategy, "bruck");
}

}  // namespace
}  // namespace conclave::comm
