// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/ids.hpp"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace conclave {
namespace {

static_assert(!std::is_convertible_v<Index, RankId> && !std::is_convertible_v<RankId, Index>);
static_assert(!std::is_convertible_v<RankId, ExpertId> && !std::is_constructible_v<RankId, ExpertId>);

TEST(Ids, AreOrderedAndHashable) {
  ExpertId expert{4};
  EXPECT_EQ((++expert).value(), 5);
  EXPECT_LT(ExpertId{4}, expert);
  EXPECT_EQ(ExpertId{}, ExpertId{0});
  const std::unordered_set<ExpertId> set{ExpertId{1}, ExpertId{2}, ExpertId{1}};
  EXPECT_EQ(set.size(), 2U);
}

TEST(EvenShare, CoversEverythingOnceInOrder) {
  for (Index count = 0; count <= 13; ++count) {
    for (Index parts = 1; parts <= 16; ++parts) {
      Index next = 0;
      for (Index part = 0; part < parts; ++part) {
        const Range share = even_share(count, parts, part);
        EXPECT_EQ(share.begin, next);
        EXPECT_GE(share.size(), count / parts);
        EXPECT_LE(share.size(), (count + parts - 1) / parts);
        if (part > 0) {
          EXPECT_LE(share.size(), even_share(count, parts, part - 1).size());
        }
        next = share.end;
      }
      EXPECT_EQ(next, count) << parts << " parts";
    }
  }
}

TEST(EvenShare, HoldsForLargeCounts) {
  const Index count = Index{1} << 60;
  EXPECT_EQ(even_share(count, 1'000'000, 0).begin, 0);
  EXPECT_EQ(even_share(count, 1'000'000, 999'999).end, count);
}

TEST(Range, KnowsItsSizeAndMembers) {
  const Range range{3, 6};
  EXPECT_EQ(range.size(), 3);
  EXPECT_FALSE(range.empty());
  EXPECT_TRUE((Range{6, 6}).empty());
  EXPECT_FALSE(range.contains(2));
  EXPECT_TRUE(range.contains(3));
  EXPECT_TRUE(range.contains(5));
  EXPECT_FALSE(range.contains(6));
}

TEST(Range, IntersectionHoldsWhatBothContain) {
  Index nonempty = 0;
  for (Index a = 0; a <= 5; ++a) {
    for (Index b = a; b <= 5; ++b) {
      for (Index c = 0; c <= 5; ++c) {
        for (Index d = c; d <= 5; ++d) {
          const Range both = intersection({a, b}, {c, d});
          EXPECT_EQ(both, intersection({c, d}, {a, b}));
          EXPECT_LE(both.begin, both.end);
          for (Index i = 0; i <= 5; ++i) {
            EXPECT_EQ(both.contains(i), (Range{a, b}).contains(i) && (Range{c, d}).contains(i));
          }
          if (!both.empty()) ++nonempty;
        }
      }
    }
  }
  EXPECT_GT(nonempty, 0);
}

}  // namespace
}  // namespace conclave
