// SPDX-License-Identifier: BSD-3-Clause
#include "gating/routing.hpp"

#include <gtest/gtest.h>

namespace conclave::gating {
namespace {

using Kept = std::vector<Assignment<double>>;

Assignment<double> served(Index token, Index expert, Index choice) { return {token, ExpertId{expert}, choice, 0.5}; }

// A routing of 3 tokens to 4 experts.
Routing<double> routing(Kept kept, std::size_t num_loads = 4) {
  RoutingCounts counts;
  counts.load.assign(num_loads, 0);
  counts.load[0] = std::ssize(kept);
  return Routing<double>(3, 4, std::move(kept), std::move(counts));
}

// The message of the InvariantError that a routing of these raises.
std::string refusal(Kept kept, std::size_t num_loads = 4) {
  try {
    static_cast<void>(routing(std::move(kept), num_loads));
  } catch (const InvariantError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RoutingTest, FindsTheKeptChoicesOfAToken) {
  const Kept kept = {served(0, 3, 0), served(0, 1, 2), served(2, 3, 1)};
  const Routing<double> r = routing(kept);
  EXPECT_EQ(r.num_tokens(), 3);
  EXPECT_EQ(r.kept(), kept);
  ASSERT_EQ(r.kept_of(0).size(), 2u);
  EXPECT_EQ(r.kept_of(0)[1], kept[1]);
  EXPECT_TRUE(r.kept_of(1).empty());
  ASSERT_EQ(r.kept_of(2).size(), 1u);
  EXPECT_EQ(r.kept_of(2)[0], kept[2]);
}

TEST(RoutingTest, WithoutTokensOrKeptChoices) {
  EXPECT_EQ(Routing<double>().num_tokens(), 0);
  EXPECT_EQ(Routing<double>(0, 4, {}, {{0, 0, 0, 0}, {}, 0}).num_tokens(), 0);
  EXPECT_TRUE(routing({}).kept_of(2).empty());
}

TEST(RoutingTest, TheLedgerCountsByReason) {
  RoutingCounts counts;
  counts.load = {4, 2, 0, 0};
  counts.drops = {{0, 1, ExpertId{1}, DropReason::over_capacity},
                  {1, 0, ExpertId{0}, DropReason::over_capacity},
                  {1, 1, ExpertId{1}, DropReason::refused_second},
                  {2, 0, ExpertId{-1}, DropReason::unchosen}};
  EXPECT_EQ(counts.count(DropReason::over_capacity), 2);
  EXPECT_EQ(counts.count(DropReason::refused_second), 1);
  EXPECT_EQ(counts.count(DropReason::unchosen), 1);
  EXPECT_EQ(counts.dropped(), 3) << "a token that nobody chose has lost no claim";
  const Routing<double> r(3, 4, {served(0, 0, 0), served(0, 1, 1), served(2, 0, 0)}, counts);
  EXPECT_EQ(r.num_unserved(), 1);
  EXPECT_EQ(r.counts().drops, counts.drops);
}

TEST(RoutingTest, RefusesAClaimThatIsNeitherKeptNorInTheLedger) {
  RoutingCounts counts;
  counts.load = {2, 0, 0, 0};
  EXPECT_THROW(Routing<double>(3, 4, {served(0, 0, 0)}, counts), InvariantError);
  counts.drops = {{1, 0, ExpertId{0}, DropReason::over_capacity}};
  EXPECT_NO_THROW(Routing<double>(3, 4, {served(0, 0, 0)}, counts));
}

TEST(RoutingTest, AnotherOneTakesThePlaceOfTheLast) {
  RoutingCounts counts;
  counts.load = {2, 1, 1, 0};
  counts.drops = {{1, 0, ExpertId{2}, DropReason::over_capacity}};
  counts.rerouted = 1;
  Routing<double> r(3, 4, {served(0, 0, 0), served(0, 1, 1), served(2, 0, 0)}, counts);
  r.assign(2, 3, [](std::vector<Assignment<double>>& kept, RoutingCounts& fresh) {
    EXPECT_TRUE(kept.empty() && fresh.drops.empty());
    EXPECT_EQ(fresh.load, (std::vector<Index>{0, 0, 0}));
    EXPECT_EQ(fresh.rerouted, 0);
    kept.push_back(served(1, 2, 0));
    fresh.load[2] = 1;
  });
  EXPECT_EQ(r.num_tokens(), 2);
  EXPECT_EQ(r.num_unserved(), 1);
  ASSERT_EQ(r.kept_of(1).size(), 1U);
  EXPECT_EQ(r.kept_of(1)[0], served(1, 2, 0));
  EXPECT_EQ(r.counts().dropped(), 0);
  const auto claim_nobody_serves = [](std::vector<Assignment<double>>&, RoutingCounts& fresh) { fresh.load[0] = 1; };
  EXPECT_THROW(r.assign(2, 3, claim_nobody_serves), InvariantError);
}

TEST(RoutingTest, RefusesWhatIsOutOfOrder) {
  EXPECT_EQ(refusal({served(0, 0, 0), served(1, 0, 0)}), "accepted");
  EXPECT_NE(refusal({served(1, 0, 0), served(0, 0, 0)}).find("out of order at token 0"), std::string::npos);
  EXPECT_NE(refusal({served(1, 0, 1), served(1, 1, 0)}).find("token 1, choice 0"), std::string::npos);
  EXPECT_NE(refusal({served(1, 0, 1), served(1, 1, 1)}).find("out of order"), std::string::npos);
}

TEST(RoutingTest, RefusesAnExpertTwiceForOneToken) {
  EXPECT_NE(refusal({served(1, 2, 0), served(1, 2, 1)}).find("token 1 routed to expert 2 twice"), std::string::npos);
  EXPECT_NE(refusal({served(1, 2, 0), served(1, 0, 1), served(1, 2, 2)}).find("expert 2 twice"), std::string::npos);
}

TEST(RoutingTest, RefusesWhatIsOutOfRange) {
  EXPECT_NE(refusal({served(3, 0, 0)}).find("token 3 of 3"), std::string::npos);
  EXPECT_NE(refusal({served(-1, 0, 0)}).find("token -1 of 3"), std::string::npos);
  EXPECT_NE(refusal({served(0, 4, 0)}).find("expert 4 of 4"), std::string::npos);
  EXPECT_NE(refusal({served(0, -1, 0)}).find("expert -1 of 4"), std::string::npos);
  EXPECT_NE(refusal({}, 3).find("3 loads for 4 experts"), std::string::npos);
}

}  // namespace
}  // namespace conclave::gating
