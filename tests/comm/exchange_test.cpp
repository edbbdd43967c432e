// SPDX-License-Identifier: BSD-3-Clause
// Every strategy runs the same bodies: the payload is a function of (source, destination, row), so that a misrouted row
// is recognised.
#include "comm/mpi/exchange.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/comm/patterns.hpp"
#include "tests/support/exchanged.hpp"
#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::all_arrangements;
using test::Arrangement;
using test::Pattern;
using test::patterns;
using test::rows_of;
using test::shape_of;
using test::world;

template <class T>
std::vector<T> values_of(ConstMatrixView<T> matrix) {
  return {matrix.flat().begin(), matrix.flat().end()};
}

/// A strategy, and who is taken to share a node: as it is, or pretended.
struct Setting {
  std::string_view strategy;
  test::Nodes nodes;
};

class ExchangeOf : public testing::TestWithParam<Setting> {
 protected:
  std::unique_ptr<Exchange> exchange_ =
      make_exchange(GetParam().strategy, world(), test::topology_of(GetParam().nodes));
  std::unique_ptr<Inbox> inbox_ = exchange_->make_inbox("test");
};

// Nodes are nothing to those that send every row to its receiver.
std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const ExchangeStrategy& strategy : exchange_strategies()) {
    all.push_back({strategy.name, test::Nodes::real});
    if (strategy.name == "auto") all.push_back({strategy.name, test::Nodes::pairs});
    if (strategy.name != "shared" && strategy.name != "hierarchical") continue;
    for (const test::Nodes nodes : test::all_nodes) {
      if (nodes != test::Nodes::real) all.push_back({strategy.name, nodes});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Strategies, ExchangeOf, testing::ValuesIn(settings()), [](const auto& setting) {
  return fmt::format("{}_{}", setting.param.strategy, name_of(setting.param.nodes));
});

template <class T>
void expect_there_and_back(Inbox& inbox, const Pattern& pattern, Arrangement arrangement, Index width) {
  SCOPED_TRACE(fmt::format("{}, {}, width {}", pattern.name, name_of(arrangement), width));
  const plan::ExchangeShape shape = shape_of(pattern, arrangement);
  EXPECT_EQ(world().sum(shape.total_sent()), world().sum(shape.total_received()));
  EXPECT_EQ(world().sum(shape.total_sent()) > 0, pattern.name != "zero");
  const Matrix<T> sent = rows_of<T>(shape, width, true);
  const Matrix<T> received = test::exchanged<T>(inbox, shape, sent);
  EXPECT_EQ(values_of<T>(received), values_of<T>(rows_of<T>(shape, width, false)));
  const Matrix<T> back = test::exchanged<T>(inbox, shape.inverse(), received);
  EXPECT_EQ(values_of<T>(back), values_of<T>(sent)) << "and back";
}

TEST_P(ExchangeOf, BringsEveryRowToItsPlaceAndBack) {
  for (const Pattern& pattern : patterns()) {
    for (const Arrangement arrangement : all_arrangements) {
      expect_there_and_back<float>(*inbox_, pattern, arrangement, 1);
      expect_there_and_back<float>(*inbox_, pattern, arrangement, 33);
      expect_there_and_back<double>(*inbox_, pattern, arrangement, 7);
      expect_there_and_back<std::int64_t>(*inbox_, pattern, arrangement, 2);
    }
  }
}

TEST_P(ExchangeOf, RowsOfNoBytesTravel) {
  for (const Pattern& pattern : patterns()) expect_there_and_back<float>(*inbox_, pattern, Arrangement::dispatch, 0);
}

TEST_P(ExchangeOf, SeveralAreUnderWayAtOnce) {
  std::vector<plan::ExchangeShape> shapes;
  std::vector<std::unique_ptr<Inbox>> inboxes;
  for (std::size_t i = 0; i < patterns().size(); ++i) {
    shapes.push_back(shape_of(patterns()[i], all_arrangements[i % all_arrangements.size()]));
    inboxes.push_back(exchange_->make_inbox("test"));
    inboxes.back()->open(shapes.back(), 5 * sizeof(double));
  }
  for (std::size_t i = 0; i < inboxes.size(); ++i) {
    inboxes[i]->write<double>(rows_of<double>(shapes[i], 5, true));
    inboxes[i]->start();
  }
  // Ended out of order, by polling and by waiting.
  while (!inboxes.back()->test()) continue;
  for (const auto& inbox : inboxes) inbox->wait();
  for (std::size_t i = 0; i < inboxes.size(); ++i) {
    EXPECT_EQ(values_of<double>(inboxes[i]->arrived<double>()), values_of<double>(rows_of<double>(shapes[i], 5, false)))
        << patterns()[i].name;
  }
}

TEST_P(ExchangeOf, WhatArrivedStaysUntilTheInboxIsOpenedAgain) {
  const plan::ExchangeShape shape = shape_of(patterns()[7], Arrangement::dispatch);
  const plan::ExchangeShape other_shape = shape_of(patterns()[1], Arrangement::scattered);
  const std::unique_ptr<Inbox> other = exchange_->make_inbox("test");
  static_cast<void>(test::exchanged<double>(*inbox_, shape, rows_of<double>(shape, 11, true)));
  for (Index width = 1; width < 40; width += 3) {
    const Matrix<double> rows = rows_of<double>(other_shape, width, true);
    static_cast<void>(test::exchanged<double>(*other, other_shape, rows));
  }
  EXPECT_EQ(values_of<double>(inbox_->arrived<double>()), values_of<double>(rows_of<double>(shape, 11, false)));
}

// Uses of one inbox that follow one another at each rank's own pace: nobody's rows come too early or too late.
TEST_P(ExchangeOf, UsesFollowOneAnotherAtAnyPace) {
  const plan::ExchangeShape shape = shape_of(patterns()[0], Arrangement::dispatch);
  Index spinning = 0;
  for (Index use = 0; use < 200; ++use) {
    Matrix<std::int64_t> sent = rows_of<std::int64_t>(shape, 3, true);
    Matrix<std::int64_t> expected = rows_of<std::int64_t>(shape, 3, false);
    for (std::int64_t& value : sent.flat()) value += use * 1'000'000'000;
    for (std::int64_t& value : expected.flat()) value += use * 1'000'000'000;
    EXPECT_EQ(values_of<std::int64_t>(test::exchanged<std::int64_t>(*inbox_, shape, sent)),
              values_of<std::int64_t>(expected));
    for (Index i = 0; i < (use * 7 + world().rank().value() * 5) % 11 * 200; ++i) spinning += i % 3;
  }
  EXPECT_GT(spinning, 0);
}

TEST_P(ExchangeOf, SlotsHoldEveryRowOnceAndARanksOwnAreItsInbox) {
  for (const Pattern& pattern : patterns()) {
    for (const Arrangement arrangement : all_arrangements) {
      const plan::ExchangeShape shape = shape_of(pattern, arrangement);
      constexpr Index row_bytes = 24;
      inbox_->open(shape, row_bytes);
      const ScatteredRows<double> rows = inbox_->outgoing<double>();
      std::vector<const double*> places;
      for (const Slot& slot : inbox_->slots()) {
        EXPECT_EQ(slot.first_row, std::ssize(places));
        for (Index i = 0; i < slot.rows; ++i) {
          places.push_back(reinterpret_cast<const double*>(slot.to + i * row_bytes));
        }
      }
      ASSERT_EQ(std::ssize(places), shape.total_sent());
      for (Index i = 0; i < shape.total_sent(); ++i) EXPECT_EQ(rows.row(i).data(), places[static_cast<std::size_t>(i)]);
      inbox_->start();
      inbox_->wait();
      const double* const begin = inbox_->arrived<double>().data;
      plan::for_each_stretch(
          shape.sent().runs(world().rank()), shape.received().runs(world().rank()),
          [&](const plan::Stretch& own) { EXPECT_EQ(places[static_cast<std::size_t>(own.from)], begin + own.to * 3); });
      std::ranges::sort(places);
      EXPECT_EQ(std::ranges::adjacent_find(places), places.end()) << "two rows share a slot";
    }
  }
}

// Copies of a token for several ranks, and several for one: every one of them arrives, whichever of them were written.
TEST_P(ExchangeOf, CopiesThatAreKnownToBeCopiesArriveAllTheSame) {
  for (const Index tokens : {0, 1, 40}) {
    const test::Copies copies(tokens);
    if (tokens > 1) {
      EXPECT_GT(copies.sent.rows(), tokens) << "no token has two copies";
    }
    inbox_->open(copies.shape, test::Copies::width * sizeof(double), copies.sources);
    const ScatteredRows<double> to = inbox_->outgoing<double>();
    Index written = 0;
    for (Index row = 0; row < to.rows(); ++row) {
      if (!to.wants(row)) continue;
      std::ranges::copy(copies.sent.row(row), to.row(row).begin());
      ++written;
    }
    Index in_slots = 0;
    for (const Slot& slot : inbox_->slots()) in_slots += slot.rows;
    EXPECT_EQ(in_slots, written);
    inbox_->start();
    inbox_->wait();
    EXPECT_EQ(values_of<double>(inbox_->arrived<double>()), values_of<double>(copies.expected)) << tokens << " tokens";
  }
}

TEST_P(ExchangeOf, ForgottenUsesEndBeforeTheirBuffers) {
  const plan::ExchangeShape shape = shape_of(patterns()[7], Arrangement::dispatch);
  for (int i = 0; i < 3; ++i) {
    const std::unique_ptr<Inbox> forgotten = exchange_->make_inbox("test");
    forgotten->open(shape, 40 * sizeof(double));
    forgotten->write<double>(rows_of<double>(shape, 40, true));
    forgotten->start();
  }
  expect_there_and_back<double>(*inbox_, patterns()[7], Arrangement::dispatch, 40);
}

TEST_P(ExchangeOf, RefusesWhatIsOutOfTurnAndShapesThatDoNotFit) {
  const plan::ExchangeShape shape = shape_of(patterns()[0], Arrangement::by_peer);
  const std::vector<Index> nothing(static_cast<std::size_t>(world().size()) + 1, 0);
  EXPECT_THROW(inbox_->open({nothing, nothing}, 4), InvariantError);
  EXPECT_THROW(inbox_->open(shape, -1), InvariantError);
  EXPECT_THROW(inbox_->start(), InvariantError);
  EXPECT_THROW(inbox_->wait(), InvariantError);
  EXPECT_THROW(static_cast<void>(inbox_->slots()), InvariantError);
  EXPECT_THROW(static_cast<void>(inbox_->arrived<float>()), InvariantError);
  inbox_->open(shape, 2 * sizeof(float));
  EXPECT_THROW(inbox_->open(shape, 4), InvariantError);
  EXPECT_THROW(inbox_->write<float>(Matrix<float>(shape.total_sent() + 1, 2)), InvariantError);
  EXPECT_THROW(inbox_->write<float>(Matrix<float>(shape.total_sent(), 3)), InvariantError);
  EXPECT_THROW(static_cast<void>(inbox_->test()), InvariantError);
  inbox_->write<float>(rows_of<float>(shape, 2, true));
  inbox_->start();
  EXPECT_THROW(static_cast<void>(inbox_->arrived<float>()), InvariantError);
  inbox_->wait();
  EXPECT_EQ(values_of<float>(inbox_->arrived<float>()), values_of<float>(rows_of<float>(shape, 2, false)));
}

TEST(Exchange, UnknownNamesAreToldTheKnownOnes) {
  for (const std::string_view name : {"flta", "", "hypercube"}) {
    try {
      static_cast<void>(make_exchange(name, world()));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("'{}'", name)));
      for (const auto& strategy : exchange_strategies()) {
        EXPECT_THAT(error.hint(), testing::HasSubstr(std::string(strategy.name)));
      }
      const bool is_near = std::string(error.what()).find("did you mean flat") != std::string::npos;
      EXPECT_EQ(is_near, name == "flta");
    }
  }
}

}  // namespace
}  // namespace conclave::comm
