// SPDX-License-Identifier: BSD-3-Clause
// Rows carry what they are copies of, (source, token, expert), so that a misrouted row is recognised.
#include "runtime/model/expert_traffic.hpp"
#include "runtime/model/host_shares.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/exchanged.hpp"
#include "tests/support/mpi_world.hpp"

namespace conclave::model {
namespace {

using test::world;

constexpr Index width = 4;

/// Which tokens a rank has, which experts a token goes to, and who hosts these.
struct Pattern {
  std::string name;
  Index num_experts;
  std::function<Index(Index rank)> tokens_of;
  std::function<bool(Index token, Index expert)> chosen;
  bool scattered = false;   // experts in no order over the ranks; else contiguous shares
  bool replicated = false;  // some of them on several ranks
};

const std::vector<Pattern>& patterns() {
  const auto even = [](Index) { return Index{7}; };
  const auto uneven = [](Index rank) { return 3 + (5 * rank) % 7; };
  const auto some_have_none = [](Index rank) { return rank % 2 == 1 ? 0 : 4 + rank; };
  const auto only_last_has_any = [](Index rank) { return rank == world().size() - 1 ? 9 : 0; };
  const auto mixed = [](Index token, Index expert) { return (3 * token + 5 * expert + token * expert) % 4 < 2; };
  const auto all = [](Index, Index) { return true; };
  static const std::vector<Pattern> patterns{
      {"even", 12, even, mixed},
      {"experts_do_not_divide", 7, uneven, mixed},
      {"fewer_experts_than_ranks", 2, uneven, mixed},
      {"one_expert", 1, even, all},
      {"many_experts", 40, uneven, [](Index token, Index expert) { return (token + expert) % 13 == 0; }},
      {"ranks_without_tokens", 5, some_have_none, mixed},
      {"one_rank_sends", 6, only_last_has_any, mixed},
      {"all_to_one_expert", 6, even, [](Index, Index expert) { return expert == 3; }},
      {"all_to_all_experts", 6, even, all},
      {"nothing_chosen", 6, even, [](Index, Index) { return false; }},
      {"no_tokens", 6, [](Index) { return Index{0}; }, all},
      {"no_experts", 0, even, all},
      {"scattered_owners", 11, uneven, mixed, true},
      {"scattered_few", 3, some_have_none, mixed, true},
      {"replicated", 5, uneven, mixed, false, true},
      {"replicated_all", 3, some_have_none, all, false, true},
      {"replicated_one_sends", 4, only_last_has_any, all, false, true},
  };
  return patterns;
}

std::vector<std::pair<Pattern, Index>> patterns_in_waves() {
  std::vector<std::pair<Pattern, Index>> result;
  for (const Pattern& pattern : patterns()) {
    for (const Index waves : {1, 2, 5}) result.emplace_back(pattern, waves);
  }
  return result;
}

ExpertMap map_of(const Pattern& pattern) {
  if (pattern.replicated) {
    std::vector<std::vector<RankId>> hosts(static_cast<std::size_t>(pattern.num_experts));
    for (Index e = 0; e < pattern.num_experts; ++e) {
      for (Index rank = 0; rank < world().size(); ++rank) {
        const bool is_host = rank == e % world().size() || (rank + 2 * e) % 3 == 1;
        if (is_host) hosts[static_cast<std::size_t>(e)].emplace_back(rank);
      }
    }
    return ExpertMap::with_replicas(std::move(hosts), world().size());
  }
  if (!pattern.scattered) return ExpertMap::contiguous(pattern.num_experts, world().size());
  std::vector<RankId> owners;
  for (Index e = 0; e < pattern.num_experts; ++e) owners.emplace_back((7 * e * e + 2 * e + 1) % world().size());
  return {std::move(owners), world().size()};
}

/// A row as it is to be seen anywhere on its way; exact in float.
template <class T>
void append_row(Index source, Index token, Index expert, std::vector<T>& rows) {
  rows.insert(rows.end(), {static_cast<T>(source + 1), static_cast<T>(token), static_cast<T>(expert),
                           static_cast<T>(source * 65536 + token * 256 + expert)});
}

constexpr Index block_rows = 2;

/// The copies for `hosted` of a rank's tokens, tokens in order; returns how many. Of an expert's copies from all ranks
/// its hosts take turns by the segments of their rows.
template <class T>
Index append_copies(const Pattern& pattern, Index source, const HostedExpert& hosted, std::vector<T>& rows) {
  const Index expert = hosted.id.value();
  std::vector<std::pair<Index, Index>> all;  // source, token
  Index token = 0;
  for (Index r = 0; r < world().size(); ++r) {
    for (Index t = 0; t < pattern.tokens_of(r); ++t, ++token) {
      if (pattern.chosen(token, expert)) all.emplace_back(r, token);
    }
  }
  const experts::RowCut cut(std::ssize(all), hosted.num_hosts > 1 ? block_rows : std::ssize(all) + 1);
  const Range mine = cut.rows_of(cut.segments_of_host(hosted.host, hosted.num_hosts));
  Index count = 0;
  for (Index i = mine.begin; i < mine.end; ++i) {
    const auto& [r, t] = all[static_cast<std::size_t>(i)];
    if (r != source) continue;
    append_row(source, t, expert, rows);
    ++count;
  }
  return count;
}

/// The same by what the layer has: the claims of this rank on each expert, and the map.
std::vector<Index> rows_by_place(const Pattern& pattern, const ExpertMap& map, const ExpertWaves& waves) {
  std::vector<Index> claims;
  for (Index e = 0; e < pattern.num_experts; ++e) {
    std::vector<float> copies;
    claims.push_back(append_copies(pattern, world().rank().value(), {ExpertId{e}}, copies));
  }
  HostShares shares(map, block_rows);
  shares.update(world(), claims);
  std::vector<Index> rows;
  for (const HostedExpert& hosted : waves.order()) rows.push_back(shares.rows_for(hosted.id, hosted.host).size());
  return rows;
}

template <class T>
class ExpertTrafficTest : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(ExpertTrafficTest, Types);

TYPED_TEST(ExpertTrafficTest, ExpertsGetTheirRowsInTheOrderOfTokensAndTheyReturnHome) {
  using T = TypeParam;
  const auto exchange = comm::make_exchange("flat", world());
  const auto inbox = exchange->make_inbox("test");
  Index rows_seen = 0;
  ExpertTraffic traffic;  // one for all: nothing may be left of the last
  for (const auto& [pattern, num_waves] : patterns_in_waves()) {
    SCOPED_TRACE(fmt::format("{} in {} waves", pattern.name, num_waves));
    const ExpertMap map = map_of(pattern);
    const ExpertWaves waves(map, num_waves);
    std::vector<T> sent;  // by wave, host, expert, token
    std::vector<Index> rows_per_expert;
    for (const HostedExpert& hosted : waves.order()) {
      rows_per_expert.push_back(append_copies(pattern, world().rank().value(), hosted, sent));
    }
    std::vector<T> expected;  // by expert, token: over all sources
    std::vector<Index> expected_rows;
    for (const HostedExpert& hosted : map.hosted_by(world().rank())) {
      Index count = 0;
      for (Index source = 0; source < world().size(); ++source) {
        count += append_copies(pattern, source, hosted, expected);
      }
      expected_rows.push_back(count);
    }

    ASSERT_EQ(rows_by_place(pattern, map, waves), rows_per_expert);
    traffic.update(world(), waves, rows_per_expert);
    EXPECT_EQ(traffic.rows_per_local_expert(), expected_rows);
    std::vector<T> all_arrived;
    for (Index wave = 0; wave < waves.size(); ++wave) {
      const Range rows = traffic.rows_sent(wave);
      ASSERT_EQ(rows.begin, wave == 0 ? 0 : traffic.rows_sent(wave - 1).end);
      ASSERT_EQ(rows.size(), traffic.dispatch(wave).total_sent());
      const std::span<const T> leaving = std::span<const T>(sent).subspan(
          static_cast<std::size_t>(rows.begin * width), static_cast<std::size_t>(rows.size() * width));
      const Matrix<T> arrived =
          test::exchanged<T>(*inbox, traffic.dispatch(wave), as_matrix<const T>(leaving, rows.size(), width));
      all_arrived.insert(all_arrived.end(), arrived.flat().begin(), arrived.flat().end());
      const Matrix<T> returned = test::exchanged<T>(*inbox, traffic.combine(wave), arrived);
      EXPECT_TRUE(std::ranges::equal(returned.flat(), leaving)) << "wave " << wave;
    }
    EXPECT_EQ(all_arrived, expected);
    const auto num_sent = static_cast<Index>(sent.size()) / width;
    ASSERT_EQ(traffic.rows_sent(waves.size() - 1).end, num_sent);
    rows_seen += world().sum(num_sent);
  }
  EXPECT_GT(rows_seen, 100);
}

}  // namespace
}  // namespace conclave::model
