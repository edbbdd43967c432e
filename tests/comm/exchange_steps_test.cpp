// SPDX-License-Identifier: BSD-3-Clause
// What strategies send is what their schedules say, message for message. MPI_Isend is counted here, by MPI's profiling
// interface, so that nothing leaves uncounted.
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "comm/plan/bruck.hpp"
#include "comm/plan/gather.hpp"
#include "comm/plan/hierarchical.hpp"
#include "comm/plan/pairwise.hpp"

#include <gtest/gtest.h>

#include <map>

#include "tests/comm/patterns.hpp"
#include "tests/support/exchanged.hpp"
#include "tests/support/mpi_world.hpp"

namespace {

conclave::Index num_messages = 0;
conclave::Index num_bytes = 0;

}  // namespace

extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm,
                         MPI_Request* request) {
  int bytes = 0;
  MPI_Type_size(type, &bytes);
  ++num_messages;
  num_bytes += conclave::Index{count} * bytes;
  return PMPI_Isend(data, count, type, to, tag, comm, request);
}

namespace conclave::comm {
namespace {

using plan::Level;
using plan::Step;
using plan::Topology;
using test::world;

constexpr Index row_bytes = 40;

using Schedule = std::function<std::vector<Step>(const Topology& topology, const plan::RowTraffic& traffic)>;

plan::Traffic in_bytes(const plan::RowTraffic& traffic) {
  return [=](RankId from, RankId to) { return traffic.rows(from, to) * traffic.row_bytes; };
}

const std::map<std::string_view, Schedule>& schedules() {
  static const std::map<std::string_view, Schedule> all{
      {"flat", [](const auto& topology, const auto& t) { return plan::flat_schedule(topology, in_bytes(t)); }},
      {"pairwise", [](const auto& topology, const auto& t) { return plan::pairwise_schedule(topology, in_bytes(t)); }},
      {"bruck", [](const auto& topology, const auto& t) { return plan::bruck_schedule(topology, in_bytes(t)); }},
      {"shared", [](const auto& topology, const auto& t) { return plan::shared_schedule(topology, in_bytes(t)); }},
      {"hierarchical", plan::hierarchical_schedule},
  };
  return all;
}

/// The steps of all ranks, in one order, on every rank.
std::vector<Step> all_steps(std::span<const Step> own) {
  std::vector<Index> numbers;
  for (const Step& s : own) {
    numbers.insert(numbers.end(), {s.phase, s.from.value(), s.to.value(), s.bytes, static_cast<Index>(s.level)});
  }
  const std::vector<Index> all = world().gather_all<Index>(numbers);
  std::vector<Step> steps;
  for (std::size_t i = 0; i < all.size(); i += 5) {
    steps.push_back({all[i], RankId{all[i + 1]}, RankId{all[i + 2]}, all[i + 3], static_cast<Level>(all[i + 4])});
  }
  std::ranges::sort(steps);
  return steps;
}

/// Steps of the same phase between the same ranks, such as a rank's rows for its mate and for a bundle that the mate
/// carries, count each by itself.
std::vector<Step> sorted(std::vector<Step> steps) {
  std::ranges::sort(steps);
  return steps;
}

std::string text_of(const std::vector<Step>& steps) {
  std::string text;
  for (const Step& s : steps) {
    text += fmt::format("[{}: {} -> {}, {} bytes, level {}] ", s.phase, s.from.value(), s.to.value(), s.bytes,
                        static_cast<int>(s.level));
  }
  return text;
}

/// Whether a strategy's step is a message, and not a write into memory.
bool is_message(std::string_view strategy, const Step& step) {
  const bool writes_within_node = strategy == "shared" || strategy == "hierarchical";
  return step.level == Level::network || (step.level == Level::node && !writes_within_node);
}

void expect_steps(std::string_view strategy, const Inbox& inbox, const std::vector<Step>& scheduled) {
  EXPECT_EQ(text_of(all_steps(inbox.steps())), text_of(sorted(scheduled)));
  if (strategy == "flat") return;  // MPI's own messages
  Index messages = 0;
  Index bytes = 0;
  for (const Step& step : scheduled) {
    if (step.from != world().rank() || !is_message(strategy, step)) continue;
    ++messages;
    bytes += step.bytes;
  }
  EXPECT_EQ(num_messages, messages);
  EXPECT_EQ(num_bytes, bytes);
}

TEST(ExchangeSteps, AreThoseOfTheSchedule) {
  for (const auto& [strategy, schedule] : schedules()) {
    for (const test::Nodes nodes : test::all_nodes) {
      const Topology topology = test::topology_of(nodes);
      const auto exchange = make_exchange(strategy, world(), topology);
      const auto inbox = exchange->make_inbox("test");
      for (const test::Pattern& pattern : test::patterns()) {
        SCOPED_TRACE(fmt::format("{}, nodes {}, {}", strategy, name_of(nodes), pattern.name));
        const auto shape = test::shape_of(pattern, test::Arrangement::dispatch);
        const Matrix<double> rows = test::rows_of<double>(shape, row_bytes / 8, true);
        num_messages = 0;
        num_bytes = 0;
        static_cast<void>(test::exchanged<double>(*inbox, shape, rows));
        const plan::RowTraffic traffic{
            [&](RankId from, RankId to) { return pattern.rows(from.value(), to.value(), world().size()); },
            {},
            row_bytes};
        expect_steps(strategy, *inbox, schedule(topology, traffic));
      }
    }
  }
}

TEST(ExchangeSteps, ATokenCrossesTheNetworkOnceForEachNode) {
  constexpr Index tokens = 30;
  const test::Copies copies(tokens);
  const auto rows = [](RankId from, RankId to) {
    Index count = 0;
    for (Index token = 0; token < tokens; ++token) {
      for (Index segment = 0; segment < test::Copies::segments; ++segment) {
        count += test::Copies::goes(from.value(), token, to.value(), segment) ? 1 : 0;
      }
    }
    return count;
  };
  for (const test::Nodes nodes : test::all_nodes) {
    const Topology topology = test::topology_of(nodes);
    const auto distinct = [&](RankId from, NodeId node) {
      Index count = 0;
      for (Index token = 0; token < tokens; ++token) {
        const auto goes = [&](RankId to) {
          return test::Copies::goes(from.value(), token, to.value(), 0) ||
                 test::Copies::goes(from.value(), token, to.value(), 1);
        };
        count += std::ranges::any_of(topology.ranks(node), goes) ? 1 : 0;
      }
      return count;
    };
    const auto exchange = make_exchange("hierarchical", world(), topology);
    const auto inbox = exchange->make_inbox("test");
    num_messages = 0;
    num_bytes = 0;
    inbox->open(copies.shape, test::Copies::width * sizeof(double), copies.sources);
    inbox->write<double>(copies.sent);
    inbox->start();
    inbox->wait();
    const plan::RowTraffic traffic{rows, distinct, test::Copies::width * sizeof(double)};
    const std::vector<Step> scheduled = plan::hierarchical_schedule(topology, traffic);
    SCOPED_TRACE(name_of(nodes));
    expect_steps("hierarchical", *inbox, scheduled);
    if (topology.num_nodes() == 1) continue;
    const auto network_bytes = [](const std::vector<Step>& steps) {
      Index bytes = 0;
      for (const Step& step : steps) bytes += step.level == Level::network ? step.bytes : 0;
      return bytes;
    };
    EXPECT_LT(network_bytes(scheduled), network_bytes(plan::flat_schedule(topology, in_bytes(traffic))));
  }
}

// Slices of whole blocks are a message each.
TEST(GatherSteps, AreThoseOfTheSchedule) {
  for (const test::Nodes nodes : test::all_nodes) {
    const Topology topology = test::topology_of(nodes);
    const auto exchange = make_exchange("flat", world(), topology);
    for (const Index blocks : {0, 1, 6, 40}) {
      SCOPED_TRACE(fmt::format("nodes {}, {} blocks", name_of(nodes), blocks));
      const plan::ReducePlan plan(blocks * plan::ReducePlan::block_elements, 1, world().size());
      std::vector<float> values(static_cast<std::size_t>(plan.num_elements()));
      num_messages = 0;
      num_bytes = 0;
      all_gather_slices<float>(plan, *exchange, values);
      Index messages = 0;
      Index bytes = 0;
      for (const Step& step : plan::gather_schedule(topology, [&](RankId owner) {
             return plan.slice_of(owner).size() * static_cast<Index>(sizeof(float));
           })) {
        if (step.from != world().rank()) continue;
        ++messages;
        bytes += step.bytes;
      }
      EXPECT_EQ(num_messages, messages);
      EXPECT_EQ(num_bytes, bytes);
    }
  }
}

}  // namespace
}  // namespace conclave::comm
