// SPDX-License-Identifier: BSD-3-Clause
// Every strategy runs the same bodies: the payload is a function of (source, destination, row), so that a misrouted row
// is recognised.
#include "comm/mpi/exchange.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;

/// How many rows go from s to d, among `size` ranks.
struct Pattern {
  std::string name;
  std::function<Index(Index s, Index d, Index size)> rows;
};

const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> all{
      {"even", [](Index, Index, Index) { return 3; }},
      {"uneven", [](Index s, Index d, Index) { return (3 * s + 5 * d + 1) % 7; }},
      {"empty_ranks", [](Index s, Index d, Index) { return s % 2 == 1 || d % 3 == 1 ? 0 : 4 + s + d; }},
      {"all_to_one", [](Index s, Index d, Index size) { return d == size - 1 ? 2 * s + 1 : 0; }},
      {"one_to_all", [](Index s, Index d, Index size) { return s == size / 2 ? d + 1 : 0; }},
      {"self_only", [](Index s, Index d, Index) { return s == d ? 6 : 0; }},
      {"ring", [](Index s, Index d, Index size) { return d == (s + 1) % size ? 5 : 0; }},
      {"many", [](Index s, Index d, Index) { return 1000 + 10 * s + d; }},
      {"zero", [](Index, Index, Index) { return 0; }},
  };
  return all;
}

plan::ExchangeShape shape_of(const Pattern& pattern) {
  std::vector<Index> to;
  std::vector<Index> from;
  const Index rank = world().rank().value();
  for (Index peer = 0; peer < world().size(); ++peer) {
    to.push_back(pattern.rows(rank, peer, world().size()));
    from.push_back(pattern.rows(peer, rank, world().size()));
  }
  return {to, from};
}

/// The value in column c of the i-th row from s to d; exact in every type.
template <class T>
T payload(Index s, Index d, Index i, Index c) {
  return static_cast<T>(((s * 8 + d) * 2048 + i) * 64 + c + 1);
}

/// The rows that this rank sends (source = this rank), or is to receive (source = the peer), peer by peer.
template <class T>
Matrix<T> rows_of(const plan::ExchangeShape& shape, Index width, bool sent) {
  Matrix<T> rows(sent ? shape.total_sent() : shape.total_received(), width);
  const Index rank = world().rank().value();
  Index row = 0;
  for (RankId peer; peer < RankId{shape.num_ranks()}; ++peer) {
    const Index count = sent ? shape.rows_to(peer) : shape.rows_from(peer);
    for (Index i = 0; i < count; ++i, ++row) {
      for (Index c = 0; c < width; ++c) {
        rows(row, c) = sent ? payload<T>(rank, peer.value(), i, c) : payload<T>(peer.value(), rank, i, c);
      }
    }
  }
  return rows;
}

template <class T>
std::vector<T> values_of(const Matrix<T>& matrix) {
  return {matrix.flat().begin(), matrix.flat().end()};
}

class ExchangeOf : public testing::TestWithParam<std::string_view> {
 protected:
  std::unique_ptr<Exchange> exchange_ = make_exchange(GetParam(), world());
};

std::vector<std::string_view> names() {
  std::vector<std::string_view> all;
  for (const ExchangeStrategy& strategy : exchange_strategies()) all.push_back(strategy.name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Strategies, ExchangeOf, testing::ValuesIn(names()),
                         [](const auto& strategy) { return std::string(strategy.param); });

template <class T>
void expect_there_and_back(const Exchange& exchange, const Pattern& pattern, Index width) {
  const plan::ExchangeShape shape = shape_of(pattern);
  EXPECT_EQ(world().sum(shape.total_sent()), world().sum(shape.total_received()));
  EXPECT_EQ(world().sum(shape.total_sent()) > 0, pattern.name != "zero");
  const Matrix<T> send = rows_of<T>(shape, width, true);
  Matrix<T> received(shape.total_received(), width);
  exchange.run<T>(shape, send, received.view());
  EXPECT_EQ(values_of(received), values_of(rows_of<T>(shape, width, false))) << pattern.name << ", width " << width;

  Matrix<T> back(shape.total_sent(), width);
  exchange.run<T>(shape.inverse(), received, back.view());
  EXPECT_EQ(values_of(back), values_of(send)) << pattern.name << " and back, width " << width;
}

TEST_P(ExchangeOf, BringsEveryRowToItsPlaceAndBack) {
  for (const Pattern& pattern : patterns()) {
    expect_there_and_back<float>(*exchange_, pattern, 1);
    expect_there_and_back<float>(*exchange_, pattern, 33);
    expect_there_and_back<double>(*exchange_, pattern, 7);
    expect_there_and_back<std::int64_t>(*exchange_, pattern, 2);
  }
}

TEST_P(ExchangeOf, RowsOfNoBytesTravel) {
  for (const Pattern& pattern : patterns()) expect_there_and_back<float>(*exchange_, pattern, 0);
}

TEST_P(ExchangeOf, SeveralAreUnderWayAtOnce) {
  std::vector<plan::ExchangeShape> shapes;
  std::vector<Matrix<double>> sent;
  std::vector<Matrix<double>> received;
  std::vector<Request> requests;
  for (const Pattern& pattern : patterns()) {
    const auto& shape = shapes.emplace_back(shape_of(pattern));
    sent.push_back(rows_of<double>(shape, 5, true));
    received.emplace_back(shape.total_received(), 5);
    requests.push_back(exchange_->start(shape, sent.back().data(), received.back().data(), 5 * sizeof(double)));
  }
  // Ended out of order, by polling and by waiting.
  while (!requests.back().test()) continue;
  for (Request& request : requests) request.wait();
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_EQ(values_of(received[i]), values_of(rows_of<double>(shapes[i], 5, false))) << patterns()[i].name;
  }
}

TEST_P(ExchangeOf, ForgottenRequestsEndBeforeTheirBuffers) {
  const plan::ExchangeShape shape = shape_of(patterns()[7]);
  const Matrix<double> sent = rows_of<double>(shape, 40, true);
  Matrix<double> received(shape.total_received(), 40);
  { const Request forgotten = exchange_->start(shape, sent.data(), received.data(), 40 * sizeof(double)); }
  EXPECT_EQ(values_of(received), values_of(rows_of<double>(shape, 40, false)));
}

TEST_P(ExchangeOf, RefusesBuffersAndShapesThatDoNotFit) {
  const plan::ExchangeShape shape = shape_of(patterns()[0]);
  Matrix<float> received(shape.total_received(), 2);
  EXPECT_THROW(exchange_->run<float>(shape, Matrix<float>(shape.total_sent() + 1, 2), received.view()), InvariantError);
  EXPECT_THROW(exchange_->run<float>(shape, Matrix<float>(shape.total_sent(), 3), received.view()), InvariantError);
  const plan::ExchangeShape too_wide(std::vector<Index>(static_cast<std::size_t>(world().size()) + 1, 0),
                                     std::vector<Index>(static_cast<std::size_t>(world().size()) + 1, 0));
  EXPECT_THROW(static_cast<void>(exchange_->start(too_wide, nullptr, nullptr, 4)), InvariantError);
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
