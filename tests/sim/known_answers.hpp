// SPDX-License-Identifier: BSD-3-Clause
// Exchanges and steps whose times are known by formula, as a user would ask for them. Each agrees with SimGrid 3.32
// (its solver in mode Full) or SMPI.
#pragma once

#include "runtime/core/ids.hpp"

#include <fmt/format.h>

#include <string>
#include <vector>

namespace conclave::sim {

struct KnownAnswer {
  std::string name;
  std::string simulation;  // exchange or step
  std::string cluster;     // JSON
  std::string popularity;  // of a file; empty: uniform
  std::vector<std::pair<std::string, std::string>> options;
  double time_s = 0.0;
  double tolerance = 1e-6;  // relative
};

/// Every node has a NIC of 12.5 GB/s each way and 1 us to every other; 10 GB/s and 0.3 us within.
inline std::string known_json(Index nodes, Index ranks_per_node = 1, const std::string& more = {}) {
  return fmt::format(R"({{"nodes": {}, "ranks_per_node": {}, "nic_Bps": 12.5e9, "node_bus_Bps": 1e10,
                          "latency_s": 1e-6, "node_latency_s": 3e-7, "rank_flops_per_s": 1e11{}}})",
                     nodes, ranks_per_node, more);
}

inline std::string known_fabric(const std::string& kind_and_counts) {
  return fmt::format(R"(, "fabric": {{{}, "link_Bps": 12.5e9, "link_latency_s": 1e-6}})", kind_and_counts);
}

inline void add_exchanges(std::vector<KnownAnswer>& all) {
  constexpr double b = 12.5e9;
  const auto add = [&](std::string name, std::string cluster, double bytes, std::string popularity, std::string tier,
                       double time_s, double tolerance = 1e-6) {
    all.push_back({std::move(name),
                   "exchange",
                   std::move(cluster),
                   std::move(popularity),
                   {{"bytes_per_rank", fmt::format("{}", bytes)}, {"tier", std::move(tier)}},
                   time_s,
                   tolerance});
  };
  std::string zipf;
  double zipf_sum = 0.0;
  for (int d = 1; d <= 32; ++d) {
    zipf += fmt::format("{}\n", 1.0 / d);
    zipf_sum += 1.0 / d;
  }
  const std::string full_bisection =
      known_json(16, 1, known_fabric(R"("kind": "fat_tree", "nodes_per_leaf": 4, "leaves": 4, "spines": 4)"));
  const std::string two_to_one = known_json(
      64, 1, known_fabric(R"("kind": "fat_tree", "nodes_per_leaf": 8, "leaves": 8, "spines": 4, "routing": "dmodk")"));
  const std::string torus = known_json(27, 1, known_fabric(R"("kind": "torus", "dims": [3, 3, 3])"));
  const std::string dragonfly =
      known_json(128, 1, known_fabric(R"("kind": "dragonfly", "groups": 4, "chassis": 2, "routers": 4, "nodes": 4)"));
  for (const std::string tier : {"bound", "fluid", "auto"}) {
    add("T1 to another node", known_json(2), 1e6, "0 1\n0 0\n", tier, 1e-6 + 1e6 / b);
    add("T1 to the same node", known_json(1, 2), 1e6, "0 1\n0 0\n", tier, 3e-7 + 1e6 / 1e10);
    add("T2", known_json(16), 16e6, "", tier, 15.0 * 1e6 / b + 1e-6);
    add("T2 on a fat tree", full_bisection, 16e6, "", tier, 1.202e-3);
    add("T4", two_to_one, 64 * 250e3, "", tier, 8.0 * 56.0 * 250e3 / (4.0 * b) + 4e-6);
    add("T5", known_json(16), 16e6, "1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", tier, 15.0 * 16e6 / b + 1e-6);
    add("T6", known_json(32), 16e6, zipf, tier, 31.0 * 16e6 / zipf_sum / b + 1e-6);
    add("T7", known_json(8, 4), 32 * 250e3, "", tier, 4.0 * 28.0 * 250e3 / b + 1e-6);
    add("T12 torus", torus, 27 * 1e5, "", tier, 9.0 * 1e5 / b + 1e-6);
    add("T12 dragonfly", dragonfly, 128 * 18750, "", tier, 1.5396e-3, tier == "bound" ? 3e-3 : 1e-3);
  }
}

inline void add_rounds(std::vector<KnownAnswer>& all) {
  constexpr double b = 12.5e9;
  const auto add = [&](std::string name, std::string cluster, double bytes, std::string strategy, double time_s) {
    for (const std::string tier : {"rounds", "auto"}) {
      all.push_back({name,
                     "exchange",
                     cluster,
                     "",
                     {{"bytes_per_rank", fmt::format("{}", bytes)}, {"strategy", strategy}, {"tier", tier}},
                     time_s});
    }
  };
  add("T3", known_json(16), 16e6, "pairwise", 15.0 * (1e-6 + 1e6 / b));
  // Of 31 rounds, in three at the beginning and three at the end 1, 2 and 3 of a node's ranks send to another node.
  const double m = 128.0;
  add("T8 pairwise", known_json(8, 4), 32 * m, "pairwise", 31e-6 + (25.0 * 4.0 + 2.0 * (1.0 + 2.0 + 3.0)) * m / b);
  add("T8 two-phase", known_json(8, 4), 32 * m, "hierarchical",
      3.0 * (3e-7 + 4.0 * 8.0 * m / 1e10) + 7.0 * (1e-6 + 4.0 * 4.0 * m / b));
}

inline void add_steps(std::vector<KnownAnswer>& all) {
  constexpr double b = 12.5e9;
  const auto add = [&](std::string name, std::string cluster, std::vector<std::pair<std::string, std::string>> options,
                       double time_s) {
    all.push_back({std::move(name), "step", std::move(cluster), "", std::move(options), time_s});
  };
  const std::vector<std::pair<std::string, std::string>> rows{{"bytes_per_rank", "16e6"}, {"flops_per_rank", "1e8"}};
  add("T9", known_json(16), {{"bytes_per_rank", "0"}, {"gradient_bytes", "16e6"}, {"reduce", "ring"}},
      2.0 * 15.0 * (1e-6 + 16e6 / (16.0 * b)));
  add("T10 without the slow host", known_json(16), rows, 2.0 * 1.201e-3 + 1e-3);
  add("T10", known_json(16, 1, R"(, "faults": [{"host": 9, "factor": 0.5}])"), rows, 2.0 * 1.201e-3 + 2.0 * 1e-3);
  auto waves = rows;
  waves.emplace_back("waves", "4");
  add("T11", known_json(16), waves, 0.301e-3 + 3.0 * 0.301e-3 + 0.25e-3 + 1.201e-3);
}

inline std::vector<KnownAnswer> known_answers() {
  std::vector<KnownAnswer> all;
  add_exchanges(all);
  add_rounds(all);
  add_steps(all);
  return all;
}

}  // namespace conclave::sim
