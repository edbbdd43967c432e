// SPDX-License-Identifier: BSD-3-Clause
// A layer whose hot experts have replicas gives the bits that it gives on one rank.
#include "runtime/core/random.hpp"
#include "tests/model/moe_run.hpp"
#include "tests/support/mpi_world.hpp"

#include <gtest/gtest.h>

namespace conclave::model {
namespace {

using experts::ExpertKind;
using test::MoeCase;
using test::MoeRun;
using test::world;

constexpr Index num_experts = 5;

/// Wide enough that bits do depend on how many rows share a product; blocks so small that experts have several
/// segments.
MoeCase hot_experts() {
  constexpr Index width = 40;
  MoeCase c;
  c.name = "hot_experts";
  c.num_groups = 7;
  c.group_rows = 24;
  c.shape.width = width;
  c.shape.router.experts = num_experts;
  c.shape.router.top_k = 2;
  c.shape.router.capacity_factor = 0.0;
  c.shape.router.min_capacity = 0;
  c.shape.router.c_balance = 0.5;
  const auto kinds = {ExpertKind::linear, ExpertKind::relu, ExpertKind::gelu, ExpertKind::swiglu, ExpertKind::gelu};
  for (const ExpertKind kind : kinds) c.shape.experts.push_back({kind, width, 36, true});
  c.shape.shared = {{ExpertKind::relu, width, 9, false}};
  c.shape.block_rows = 5;
  return c;
}

std::vector<RankId> ranks(Index begin, Index end) {
  std::vector<RankId> result;
  for (Index rank = begin; rank < end; ++rank) result.emplace_back(rank);
  return result;
}

/// Every expert on each rank by a throw, and on one that it must be on.
ExpertMap thrown(Index seed) {
  const Random random(seed, RandomStream::initial);
  std::vector<std::vector<RankId>> hosts;
  for (Index e = 0; e < num_experts; ++e) {
    const auto sure = static_cast<Index>(random.uniform(e, 0) * static_cast<double>(world().size()));
    auto& of_expert = hosts.emplace_back();
    for (Index rank = 0; rank < world().size(); ++rank) {
      if (rank == sure || random.uniform(e, rank + 1) < 0.4) of_expert.emplace_back(rank);
    }
  }
  return ExpertMap::with_replicas(std::move(hosts), world().size());
}

std::vector<ExpertMap> maps() {
  const Index size = world().size();
  std::vector<ExpertMap> result{
      ExpertMap::with_replicas(std::vector(num_experts, ranks(0, size)), size),  // all everywhere: the last homes none
      ExpertMap::with_replicas(std::vector(num_experts, ranks(size / 2, size)), size),  // the first ranks host nothing
  };
  std::vector<std::vector<RankId>> one_hot(num_experts, ranks(0, 1));
  one_hot[3] = ranks(0, size);
  result.push_back(ExpertMap::with_replicas(one_hot, size));
  for (const Index seed : {1, 2, 3}) result.push_back(thrown(seed));
  return result;
}

/// y and all gradients of a step, whose experts' gradients are those of a pass before it, and the step's own.
template <class T>
std::vector<T> two_passes(MoeRun<T>& run) {
  std::vector<T> all = run.forward();
  static_cast<void>(run.backward());
  run.draw_inputs(1);
  test::append(run.forward(), all);
  test::append(run.backward(true), all);
  return all;
}

Index most_sums(MoeRun<float>& run) {
  Index most = 0;
  MoeLayer<float>& layer = run.layer();
  const std::vector<HostedExpert> hosted = layer.map().hosted_by(world().rank());
  for (std::size_t i = 0; i < hosted.size(); ++i) {
    most = std::max(most, layer.shard().partial_sums(LocalExpertId{static_cast<Index>(i)}, hosted[i].host).rows);
  }
  return world().max(most);
}

TEST(Replicas, GiveTheBitsOfOneRank) {
  const comm::Communicator alone = world().split(world().rank().value());
  MoeCase c = hot_experts();
  for (const Index num_groups : {7, 1, 0}) {  // of one group all tokens are on one rank
    c = test::with_groups(c, num_groups);
    MoeRun<float> reference(c, alone);
    const std::vector<float> expected = two_passes(reference);
    for (const ExpertMap& map : maps()) {
      MoeRun<float> run(c, world(), 0, map);
      EXPECT_TRUE(test::same_bits<float>(two_passes(run), expected));
      if (num_groups == 7 && map.replicated().size() == num_experts && world().size() > 1) {
        EXPECT_GT(most_sums(run), 0) << "gradients travel";
      }
    }
  }
}

TEST(Replicas, GiveTheBitsOfOneRankOverExchangesWiresAndWaves) {
  const comm::Communicator alone = world().split(world().rank().value());
  MoeCase c = hot_experts();
  for (const Wire wire : {Wire::fp32, Wire::bf16}) {
    c.wire = wire;
    c.waves = 1;
    c.node_ranks = 0;
    MoeRun<float> reference(c, alone);
    const std::vector<float> expected = two_passes(reference);
    for (const comm::ExchangeStrategy& strategy : comm::exchange_strategies()) {
      for (const Index waves : {1, 2, 3}) {
        SCOPED_TRACE(fmt::format("{}, {} waves, {}", strategy.name, waves, name_of(wire)));
        c.exchange = strategy.name;
        c.waves = waves;
        c.node_ranks = waves == 2 ? 2 : 0;
        MoeRun<float> run(c, world(), 0, thrown(10 + waves));
        EXPECT_TRUE(test::same_bits<float>(two_passes(run), expected));
      }
    }
  }
}

// Fewer rows than a block, a segment or two, many; every expert's or one's.
TEST(Replicas, GiveTheBitsOfOneRankWhateverTheRows) {
  const comm::Communicator alone = world().split(world().rank().value());
  MoeCase c = hot_experts();
  std::vector<std::vector<float>> of_blocks;
  for (const Index block_rows : {1, 3, 20, 60, 1000}) {
    c.shape.block_rows = block_rows;
    MoeRun<float> reference(c, alone);
    of_blocks.push_back(two_passes(reference));
    const test::Threads use(block_rows == 3 ? 2 : 1);
    MoeRun<float> run(c, world(), 0, thrown(20 + block_rows));
    EXPECT_TRUE(test::same_bits<float>(two_passes(run), of_blocks.back())) << block_rows << " rows a block";
  }
  EXPECT_NE(of_blocks.front(), of_blocks.back()) << "or the bits would not depend on how rows are cut";
}

TEST(Replicas, ShareTheRowsOfAnExpertOut) {
  const MoeCase c = hot_experts();
  const auto everywhere = ExpertMap::with_replicas(std::vector(num_experts, ranks(0, world().size())), world().size());
  MoeRun<float> run(c, world(), 0, everywhere);
  static_cast<void>(run.forward());
  const auto load = run.statistics().load;
  for (std::size_t e = 0; e < num_experts; ++e) {
    const Index here = run.layer().rows_per_local_expert()[e];
    EXPECT_EQ(world().sum(here), load[e]);
    ASSERT_GT(load[e], 30);
    EXPECT_TRUE(world().min(here) > 0 || world().size() > 4);
    EXPECT_TRUE(world().max(here) < load[e] || world().size() == 1);
  }
}

TEST(Replicas, GetTheValuesOfHome) {
  MoeRun<float> run(hot_experts(), world(), 0, thrown(4));
  MoeLayer<float>& layer = run.layer();
  Index num_replicas = 0;
  for (LocalExpertId i; i < LocalExpertId{layer.shard().num_experts()}; ++i) {
    const auto value = static_cast<float>(layer.shard().global(i).value() + (layer.shard().is_home(i) ? 1 : 100));
    std::ranges::fill(layer.shard().values(i), value);
  }
  layer.share_values();
  for (LocalExpertId i; i < LocalExpertId{layer.shard().num_experts()}; ++i) {
    const auto home = static_cast<float>(layer.shard().global(i).value() + 1);
    EXPECT_TRUE(std::ranges::all_of(layer.shard().values(i), [&](float v) { return v == home; })) << i.value();
    if (!layer.shard().is_home(i)) ++num_replicas;
  }
  EXPECT_TRUE(world().sum(num_replicas) > 0 || world().size() == 1);
}

TEST(Replicas, OfExpertsThatShareABaseAreRefused) {
  MoeCase c = hot_experts();
  c.shape.experts.assign(num_experts, {ExpertKind::gelu, c.shape.width, 12, false, 3});
  if (world().size() == 1) return;
  std::vector<std::vector<RankId>> hosts;
  for (ExpertId e; e < ExpertId{num_experts}; ++e) {
    hosts.push_back({ExpertMap::contiguous(num_experts, world().size()).owner(e)});
  }
  hosts.front() = ranks(0, 2);
  try {
    MoeRun<float> run(c, world(), 0, ExpertMap::with_replicas(hosts, world().size()));
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("expert 0 on 2 ranks"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace conclave::model
