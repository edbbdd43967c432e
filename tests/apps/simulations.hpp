// SPDX-License-Identifier: BSD-3-Clause
// A small training and machine, and `conclave simulate` called about them.
#pragma once

#include "runtime/sim/machine.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/apps/program.hpp"
#include "tests/train/temporary_folder.hpp"

namespace conclave::test {

inline constexpr const char* small_run =
    "--layers 2 --width 32 --heads 2 --context 16 --experts 8 --expert-hidden 64 --sequences 32 --groups 16";

inline std::string machine_text(double s_per_flop) {
  nlohmann::json phases;
  for (const char* phase :
       {"embedding", "attention", "gate", "dispatch", "experts", "combine", "dense", "head", "reduce", "optimizer"}) {
    phases[phase] = {{"s_per_call", 1e-7}, {"s_per_flop", s_per_flop}, {"s_per_byte", 1e-10}};
  }
  const nlohmann::json machine{{"version", sim::machine_file_version},
                               {"cache_bytes", 1e8},
                               {"compute", {{{"active_ranks", 4}, {"threads", 1}, {"phases", phases}}}},
                               {"residual_sigma", {{"experts", 0.1}}},
                               {"provenance", {{"host", "node17"}, {"cpu", "a CPU"}, {"when", "2026-11-29"}}}};
  return machine.dump();
}

inline std::string cluster_text() {
  return R"({"nodes": 4, "ranks_per_node": 4, "nic_Bps": 1e10, "node_bus_Bps": 1e10, "latency_s": 2e-6,
             "node_latency_s": 3e-7, "rank_flops_per_s": 2e10, "node_memory_bytes": 4e9})";
}

class Simulations : public testing::Test {
 protected:
  Simulations() {
    folder_.write("cluster.json", cluster_text());
    folder_.write("machine.json", machine_text(5e-11));
  }
  Outcome simulate(const std::string& member, const std::string& arguments) {
    return conclave(fmt::format("simulate {} --cluster {} --threads 1 {} {}", member, folder_.path("cluster.json"),
                                small_run, arguments));
  }
  nlohmann::json simulated(const std::string& member, const std::string& arguments) {
    const Outcome outcome = simulate(member, "--json " + arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return nlohmann::json::parse(outcome.output, nullptr, false);
  }
  /// The file of a trace that the small training has recorded.
  std::string recorded() {
    const std::string trace = folder_.path("routing.jsonl");
    const Outcome run = conclave(
        fmt::format("train {} --threads 1 --steps 4 --eval-every 0 --eval-sequences 2 --out {} --record-routing {}",
                    small_run, folder_.path("run"), trace));
    EXPECT_EQ(run.exit_code, 0) << run.output;
    return trace;
  }
  train::TemporaryFolder folder_;
};

}  // namespace conclave::test
