// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/communicator.hpp"

#include "comm/mpi/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <optional>
#include <thread>

#include "tests/support/mpi_world.hpp"

namespace conclave::comm {
namespace {

using test::world;
using testing::HasSubstr;

Index rank() { return world().rank().value(); }
Index size() { return world().size(); }

/// What `call` throws; fails the test if it throws nothing of this kind.
template <class Thrown, class Call>
std::optional<Thrown> thrown_by(const Call& call) {
  try {
    call();
  } catch (const Thrown& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return std::nullopt;
}

TEST(Communicator, IdleRanksWaitForTheLast) {
  using Clock = std::chrono::steady_clock;
  constexpr auto late = std::chrono::milliseconds(50);
  for (RankId last; last < RankId{size()}; ++last) {
    world().barrier();
    const Clock::time_point start = Clock::now();
    if (world().rank() == last) std::this_thread::sleep_for(late);
    world().idle_barrier();
    EXPECT_GT(Clock::now() - start, late / 2) << "left before rank " << last.value() << " came";
  }
}

TEST(Communicator, KnowsItsRankAndSize) {
  int mpi_rank = -1;
  int mpi_size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &mpi_size);
  EXPECT_EQ(rank(), mpi_rank);
  EXPECT_EQ(size(), mpi_size);
  EXPECT_EQ(world().is_root(), mpi_rank == 0);
}

TEST(Communicator, EveryOneReturnsErrors) {
  const Communicator copy = world().duplicate();
  const Communicator half = world().split(rank() % 2);
  for (const Communicator* communicator : {&world(), &copy, &half}) {
    MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
    MPI_Comm_get_errhandler(communicator->handle(), &handler);
    EXPECT_EQ(handler, MPI_ERRORS_RETURN);
  }
}

TEST(Communicator, AnErrorOfTheLibraryIsThrownWithItsText) {
  std::int64_t value = 1;
  const auto error = thrown_by<MpiError>([&] { world().broadcast(std::span(&value, 1), RankId{size()}); });
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), HasSubstr("MPI_Bcast failed"));
  EXPECT_THAT(error->what(), HasSubstr("root"));
  EXPECT_THAT(error->what(), HasSubstr(fmt::format("(error class {})", MPI_ERR_ROOT)));
  EXPECT_EQ(world().sum(std::int64_t{1}), size()) << "the communicator is usable after the error";
}

TEST(Communicator, CountsThatMpiCannotCountAreRefused) {
  constexpr Index most = std::numeric_limits<int>::max();
  EXPECT_EQ(checked_int(most, "rows"), most);
  const auto error = thrown_by<MpiError>([] { static_cast<void>(checked_int(most + 1, "rows of widgets")); });
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), HasSubstr("rows of widgets: 2147483648"));
  EXPECT_FALSE(error->hint().empty());
  EXPECT_THROW(static_cast<void>(checked_int(-1, "rows")), InvariantError);
  EXPECT_THROW(RowType(most + 1, MPI_BYTE), MpiError);
}

TEST(Communicator, MovesAndLeavesNothingBehind) {
  Communicator first = world().duplicate();
  const MPI_Comm handle = first.handle();
  Communicator second = std::move(first);
  EXPECT_EQ(second.handle(), handle);
  EXPECT_EQ(second.rank(), world().rank());
  EXPECT_EQ(first.handle(), MPI_COMM_NULL);  // NOLINT(bugprone-use-after-move): what is left is what is tested
  first = world().duplicate();
  second = std::move(first);
  EXPECT_EQ(second.sum(std::int64_t{1}), size());
}

TEST(Communicator, MessagesOfADuplicateAreItsOwn) {
  const Communicator copy = world().duplicate();
  int relation = MPI_UNEQUAL;
  MPI_Comm_compare(world().handle(), copy.handle(), &relation);
  EXPECT_EQ(relation, MPI_CONGRUENT);
}

TEST(Communicator, SplitsByColour) {
  const Communicator part = world().split(rank() % 2);
  EXPECT_EQ(part.size(), (size() + 1 - rank() % 2) / 2);
  EXPECT_EQ(part.rank().value(), rank() / 2);
  Index expected = 0;
  for (Index r = rank() % 2; r < size(); r += 2) expected += r;
  EXPECT_EQ(part.sum(rank()), expected);
}

TEST(Communicator, NegativeColoursAreLeftOut) {
  const Communicator part = world().split(rank() == 0 ? -1 : 5);
  EXPECT_EQ(part.size(), rank() == 0 ? 0 : size() - 1);
  EXPECT_EQ(part.rank(), RankId{rank() - 1});
  EXPECT_EQ(part.is_root(), rank() == 1);
}

TEST(Communicator, RanksOfOneMachineShareANode) {
  const plan::Topology topology = world().topology();
  EXPECT_EQ(topology, plan::Topology(std::vector<Index>(static_cast<std::size_t>(size()), 0)));
  EXPECT_EQ(topology.num_ranks(), size());
}

TEST(Communicator, Reduces) {
  std::vector<std::int64_t> values{rank() + 1, -10 * rank(), std::int64_t{1} << 40};
  world().sum(std::span(values));
  const Index ranks_sum = size() * (size() - 1) / 2;
  EXPECT_EQ(values, (std::vector<std::int64_t>{ranks_sum + size(), -10 * ranks_sum, size() << 40}));
  world().sum(std::span<std::int64_t>{});

  EXPECT_EQ(world().sum(std::int64_t{-3}), -3 * size());
  EXPECT_EQ(world().max(10 - rank()), 10);
  EXPECT_EQ(world().min(10 - rank()), 11 - size());
  EXPECT_EQ(world().max(0.5 * static_cast<double>(rank())), 0.5 * static_cast<double>(size() - 1));
  constexpr std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_EQ(world().sum_modulo(half + 1), (size() % 2 == 1 ? half : 0) + static_cast<std::uint64_t>(size()));
}

TEST(Communicator, AnyAndAll) {
  const bool only_last = rank() == size() - 1;
  EXPECT_TRUE(world().any(only_last));
  EXPECT_FALSE(world().any(false));
  EXPECT_TRUE(world().all(true));
  EXPECT_EQ(world().all(!only_last), false);
}

template <class T>
class CommunicatorOf : public testing::Test {};
using Travellers = testing::Types<char, std::byte, std::int32_t, std::int64_t, std::uint64_t, float, double>;
TYPED_TEST_SUITE(CommunicatorOf, Travellers);

/// The i-th value of rank r; fits every type.
template <class T>
T value_of(Index r, Index i) {
  return static_cast<T>(1 + (r * 17 + i * 5) % 120);
}

/// Uneven, and none on every third rank (rank 0 included).
Index num_values_of(Index r) { return r % 3 == 0 ? 0 : 2 * r + 1; }

TYPED_TEST(CommunicatorOf, BroadcastsFromAnyRoot) {
  for (Index root = 0; root < size(); ++root) {
    std::vector<TypeParam> values(5);
    for (Index i = 0; i < 5 && rank() == root; ++i) values[static_cast<std::size_t>(i)] = value_of<TypeParam>(root, i);
    world().broadcast(std::span(values), RankId{root});
    for (Index i = 0; i < 5; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], value_of<TypeParam>(root, i));
  }
  world().broadcast(std::span<TypeParam>{});
}

TYPED_TEST(CommunicatorOf, GathersUnevenParts) {
  std::vector<TypeParam> own;
  for (Index i = 0; i < num_values_of(rank()); ++i) own.push_back(value_of<TypeParam>(rank(), i));
  std::vector<TypeParam> expected;
  std::vector<Range> ranges;
  for (Index r = 0; r < size(); ++r) {
    for (Index i = 0; i < num_values_of(r); ++i) expected.push_back(value_of<TypeParam>(r, i));
    ranges.push_back({std::ssize(expected) - num_values_of(r), std::ssize(expected)});
  }
  EXPECT_EQ(world().template gather_all<TypeParam>(own), expected);
  EXPECT_TRUE(world().template gather_all<TypeParam>(std::span<const TypeParam>{}).empty());

  std::vector<TypeParam> all(expected.size());
  std::copy(own.begin(), own.end(), all.begin() + ranges[static_cast<std::size_t>(rank())].begin);
  world().gather_all_in_place(std::span(all), ranges);
  EXPECT_EQ(all, expected);
}

TEST(Communicator, GatherInPlaceRefusesRangesOutsideTheArray) {
  std::vector<float> all(3);
  std::vector<Range> ranges(static_cast<std::size_t>(size()));
  ranges.back() = {1, 4};
  EXPECT_THROW(world().gather_all_in_place(std::span(all), ranges), InvariantError);
  ranges.push_back({});
  EXPECT_THROW(world().gather_all_in_place(std::span(all), ranges), InvariantError);
}

TEST(Communicator, BroadcastsTextsOfUnknownLength) {
  const RankId last{size() - 1};
  const std::string text = "seven ranks\n" + std::string(3, '\0') + "and zeros";
  EXPECT_EQ(world().broadcast(world().rank() == last ? text : std::string("mine"), last), text);
  EXPECT_EQ(world().broadcast(rank() == 0 ? std::string{} : std::string("not empty")), "");
}

TEST(Communicator, GathersTexts) {
  const auto text_of = [](Index r) {
    return std::string(static_cast<std::size_t>(r % 3 == 1 ? 0 : r + 1), char('a' + r));
  };
  std::vector<std::string> expected;
  for (Index r = 0; r < size(); ++r) expected.push_back(text_of(r));
  EXPECT_EQ(world().gather_all(text_of(rank())), expected);
  EXPECT_EQ(world().gather_all(std::string{}), std::vector<std::string>(static_cast<std::size_t>(size())));
}

/// The i-th value from s to d.
std::int64_t message(Index s, Index d, Index i) { return s * 1'000'000'000'000 + d * 1'000'000 + i; }

TEST(Communicator, AllToAllOfEqualParts) {
  constexpr Index each = 3;
  std::vector<std::int64_t> values;
  std::vector<std::int64_t> expected;
  for (Index peer = 0; peer < size(); ++peer) {
    for (Index i = 0; i < each; ++i) {
      values.push_back(message(rank(), peer, i));
      expected.push_back(message(peer, rank(), i));
    }
  }
  EXPECT_EQ(world().all_to_all(values), expected);
  EXPECT_TRUE(world().all_to_all(std::span<const std::int64_t>{}).empty());
}

TEST(Communicator, AllToAllOfUnevenParts) {
  const auto count = [](Index s, Index d) { return (3 * s + 5 * d + 1) % 4; };
  std::vector<std::int64_t> values;
  std::vector<std::int64_t> expected;
  std::vector<Index> to;
  std::vector<Index> from;
  for (Index peer = 0; peer < size(); ++peer) {
    to.push_back(count(rank(), peer));
    from.push_back(count(peer, rank()));
    for (Index i = 0; i < to.back(); ++i) values.push_back(message(rank(), peer, i));
    for (Index i = 0; i < from.back(); ++i) expected.push_back(message(peer, rank(), i));
  }
  const plan::ExchangeShape shape(to, from);
  EXPECT_GT(world().sum(shape.total_sent()), 0);
  const auto received = world().all_to_all(values, shape);
  EXPECT_EQ(received, expected);
  EXPECT_EQ(world().all_to_all(received, shape.inverse()), values);
}

TEST(Communicator, AgreesThatAllIsWell) { EXPECT_NO_THROW(world().agree("")); }

TEST(Communicator, AgreesOnTheLowestFailingRanksError) {
  // Ranks 1, 3, 4, ... fail; where there is only one rank, that one.
  const bool fails = size() == 1 || rank() == 1 || rank() > 2;
  const auto error = thrown_by<InputError>([&] {
    world().agree(fails ? fmt::format("disk {} is full", rank()) : "", fmt::format("empty disk {}", rank()));
  });
  ASSERT_TRUE(error);
  const Index num_failed = size() == 1 ? 1 : (size() == 2 ? 1 : size() - 2);
  if (size() == 1) {
    EXPECT_STREQ(error->what(), "disk 0 is full");
  } else {
    EXPECT_EQ(error->what(), fmt::format("disk 1 is full (rank 1; {} of {} ranks failed)", num_failed, size()));
  }
  EXPECT_EQ(error->hint(), size() == 1 ? "empty disk 0" : "empty disk 1");
  EXPECT_EQ(world().sum(std::int64_t{1}), size()) << "the ranks are still in step";
}

TEST(Environment, NamesTheLibraryInOneLine) {
  const std::string library = mpi_library();
  EXPECT_GT(library.size(), 5u);
  EXPECT_EQ(library.find_first_of("\n\t\0,"), std::string::npos);
}

TEST(Environment, MainThreadMayCommunicateBesideOthers) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Query_thread(&provided);
  EXPECT_GE(provided, MPI_THREAD_FUNNELED);
}

}  // namespace
}  // namespace conclave::comm
