// SPDX-License-Identifier: BSD-3-Clause
// simgrid_referee check|fill TABLE: runs every exchange of the table in SimGrid.
//   check: fails unless SimGrid, the table and the simulator agree on every time
//   fill:  prints the table with SimGrid's times in it
#include "runtime/sim/bound.hpp"
#include "tests/sim/referee/case.hpp"
#include "tests/sim/referee/platform.hpp"
#include "tests/support/file_content.hpp"

#include <fmt/core.h>
#include <simgrid/version.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <map>
#include <memory>

namespace conclave::sim {
namespace {

namespace s4u = simgrid::s4u;

// Plain max-min fairness: no windows, no corrections for protocols, nothing that acknowledgements take; every rate
// anew at every event (Full), and rates and times as exact as doubles are: SimGrid's own precision is good for 1e-8.
void configure() {
  for (const char* setting : {"network/model:CM02", "network/optim:Full", "network/TCP-gamma:0", "network/weight-S:0",
                              "network/bandwidth-factor:1", "network/latency-factor:1", "network/crosstraffic:0",
                              "network/maxmin-selective-update:0", "maxmin/precision:1e-9", "surf/precision:1e-15"}) {
    s4u::Engine::set_config(std::string(setting));
  }
}

uint64_t whole_bytes(const Pair& pair) { return static_cast<uint64_t>(std::llround(pair.bytes)); }

// Everything at once. A flow's share in SimGrid is in inverse proportion to the latency of its links (as TCP's to its
// round trip), unless they have none. So the sender waits that long instead.
void run_flat(const RefereeCase& exchange, const Platform& platform) {
  std::map<double, std::vector<Pair>> starts;
  exchange.traffic.for_each(
      [&](const Pair& pair) { starts[platform.latency_s(RankId{pair.from}, RankId{pair.to})].push_back(pair); });
  const double begin_s = s4u::Engine::get_clock();
  std::vector<s4u::CommPtr> flows;
  for (const auto& [latency_s, pairs] : starts) {
    s4u::this_actor::sleep_until(begin_s + latency_s);
    for (const Pair& pair : pairs) {
      flows.push_back(s4u::Comm::sendto_async(platform.host(pair.from), platform.host(pair.to), whole_bytes(pair)));
    }
  }
  s4u::Comm::wait_all(flows);
}

// A rank's part of an exchange in rounds: in round r it sends to the rank r places on, and receives from that r places
// back; the next round begins when both are through.
void run_rounds_of(Index rank, const RefereeCase& exchange) {
  const Index ranks = exchange.cluster.num_ranks();
  const auto mailbox = [&](Index from, Index to) {
    return s4u::Mailbox::by_name(fmt::format("{}, {} to {}", exchange.name, from, to));
  };
  static int content = 0;
  for (Index round = 1; round < ranks; ++round) {
    const Index to = (rank + round) % ranks;
    const Index from = (rank + ranks - round) % ranks;
    int* received = nullptr;
    std::vector<s4u::CommPtr> messages;
    const double bytes = exchange.traffic.bytes(RankId{rank}, RankId{to});
    if (bytes > 0.0) messages.push_back(mailbox(rank, to)->put_async(&content, whole_bytes({0, 0, bytes})));
    if (exchange.traffic.bytes(RankId{from}, RankId{rank}) > 0.0) {
      messages.push_back(mailbox(from, rank)->get_async<int>(&received));
    }
    s4u::Comm::wait_all(messages);
  }
}

void run_pairwise(const RefereeCase& exchange, const Platform& platform) {
  std::vector<s4u::ActorPtr> ranks;
  for (Index rank = 0; rank < exchange.cluster.num_ranks(); ++rank) {
    ranks.push_back(s4u::Actor::create(fmt::format("{}, {}", exchange.name, rank), platform.host(rank),
                                       [rank, &exchange] { run_rounds_of(rank, exchange); }));
  }
  for (const s4u::ActorPtr& rank : ranks) rank->join();
}

void run_case(const RefereeCase& exchange, const Platform& platform) {
  if (exchange.strategy == Strategy::flat) return run_flat(exchange, platform);
  if (exchange.strategy == Strategy::pairwise) return run_pairwise(exchange, platform);
  throw InputError(fmt::format("strategy {} in SimGrid", name_of(exchange.strategy)), "flat and pairwise can be run");
}

// One after another on machines of their own, in one simulation: SimGrid has one in a process. [cases], seconds.
std::vector<double> simgrid_times_s(s4u::Engine& engine, const std::vector<RefereeCase>& cases) {
  s4u::NetZone* all = s4u::create_full_zone("all");
  std::vector<std::unique_ptr<Platform>> platforms;
  for (const RefereeCase& exchange : cases) {
    const LatencyOf latency = exchange.strategy == Strategy::flat ? LatencyOf::senders : LatencyOf::links;
    platforms.push_back(std::make_unique<Platform>(exchange.name, exchange.cluster, latency, all));
  }
  s4u::Host* clerk = all->create_host("clerk", 1.0);
  all->seal();
  std::vector<double> times_s;
  s4u::Actor::create("clerk", clerk, [&] {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const double begin_s = s4u::Engine::get_clock();
      run_case(cases[i], *platforms[i]);
      times_s.push_back(s4u::Engine::get_clock() - begin_s);
    }
  });
  engine.run();
  invariant(times_s.size() == cases.size(), "{} of {} exchanges were run", times_s.size(), cases.size());
  return times_s;
}

bool check(const std::vector<RefereeCase>& cases, const std::vector<double>& times_s) {
  bool all_agree = true;
  fmt::print("{:<44} {:>16} {:>10} {:>10} {:>8}\n", "exchange", "SimGrid [s]", "table", "simulator", "bound");
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const RefereeCase& exchange = cases[i];
    const auto difference = [&](double time_s) { return time_s / times_s[i] - 1.0; };
    const double table = difference(exchange.time_s);
    const double simulator = difference(simulated_s(exchange));
    const double bound = difference(bound_of(Network(exchange.cluster), exchange.traffic).time_s);
    const bool agree = std::abs(table) <= referee_tolerance && std::abs(simulator) <= referee_tolerance;
    fmt::print("{:<44} {:>16.9e} {:>10.1e} {:>10.1e} {:>7.2f}%{}\n", exchange.name, times_s[i], table, simulator,
               100.0 * bound, agree ? "" : "  DIFFERS");
    all_agree = all_agree && agree;
  }
  return all_agree;
}

void print_filled(nlohmann::ordered_json table, const std::vector<double>& times_s) {
  table["simgrid"] = SIMGRID_VERSION_STRING;
  fmt::print("{{\n\"simgrid\": {},\n\"clusters\": {{", table["simgrid"].dump());
  const char* separator = "";
  for (const auto& [name, cluster] : table["clusters"].items()) {
    fmt::print("{}\n  {}: {}", separator, nlohmann::json(name).dump(), cluster.dump());
    separator = ",";
  }
  fmt::print("\n}},\n\"cases\": [");
  for (std::size_t i = 0; i < times_s.size(); ++i) {
    table["cases"][i]["time_s"] = times_s[i];
    fmt::print("{}\n  {}", i == 0 ? "" : ",", table["cases"][i].dump());
  }
  fmt::print("\n]\n}}\n");
}

int run(const std::string& action, const std::string& path, s4u::Engine& engine) {
  if (action != "check" && action != "fill") throw InputError(fmt::format("'{}'", action), "write check or fill");
  const std::string table = test::content_of(path);
  const std::vector<RefereeCase> cases = referee_cases(table);
  const std::vector<double> times_s = simgrid_times_s(engine, cases);
  if (action == "check") return check(cases, times_s) ? 0 : 1;
  print_filled(nlohmann::ordered_json::parse(table), times_s);
  return 0;
}

}  // namespace
}  // namespace conclave::sim

int main(int argc, char** argv) {
  try {
    simgrid::s4u::Engine engine(&argc, argv);
    if (argc != 3) {
      fmt::print(stderr, "simgrid_referee check|fill TABLE\n");
      return 2;
    }
    conclave::sim::configure();
    return conclave::sim::run(argv[1], argv[2], engine);
  } catch (const conclave::InputError& error) {
    fmt::print(stderr, "simgrid_referee: {}: {}\n", error.what(), error.hint());
  } catch (const std::exception& error) {
    fmt::print(stderr, "simgrid_referee: {}\n", error.what());
  }
  return 2;
}
