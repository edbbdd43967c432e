// SPDX-License-Identifier: BSD-3-Clause
// `conclave train --placement auto` as a user calls it.
#include "runtime/sim/machine.hpp"
#include "tests/apps/refusal.hpp"
#include "tests/train/temporary_folder.hpp"

namespace conclave {
namespace {

using test::count;
using test::digest_of;
using test::expect_refusal;
using test::on_ranks;
using test::Outcome;

// Large experts stand side by side: even runs give them to one rank. That moving one gains more than a save takes is
// sure, by far, as so many steps are to come.
TEST(ExpertMoving, ChangesNoBits) {
  const train::TemporaryFolder folder;
  const std::string options =
      "train --layers 2 --width 64 --heads 2 --context 32 --experts 4 --expert-hidden 2048,2048,16,16 --sequences 48 "
      "--groups 4 --steps 1000 --checkpoint-every 10 --eval-every 0 --eval-sequences 4 --threads 1";
  const auto trained = [&](Index ranks, const std::string& name, const std::string& more) {
    const Outcome outcome =
        on_ranks(ranks, CONCLAVE_PROGRAM, fmt::format("{} --out {} {}", options, folder.path(name), more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.output;
  };
  EXPECT_EQ(count(trained(1, "even", "--stop-after 30"), "experts moved"), 0);
  const std::string said = trained(2, "moved", "--placement auto --stop-after 18");
  EXPECT_EQ(count(said, "moves of experts are priced by: what this run's phases take"), 1) << said;
  EXPECT_EQ(count(said, "experts moved after step 10: the fullest rank had 1."), 1) << said;
  EXPECT_EQ(count(said, "the move after step 10: a step took "), 1) << said;
  trained(3, "moved", "--placement auto --checkpoint-async --stop-after 30 --resume " + folder.path("moved"));
  EXPECT_EQ(digest_of(folder.path("moved")), digest_of(folder.path("even")));
}

TEST(ExpertMoving, ChangesNoBitsOnAnyNumberOfRanks) {
  const train::TemporaryFolder folder;
  const std::string hidden = "1024,1024,1024,1024,16,16,16,16,16,16,16,16";
  const auto trained = [&](Index ranks, const std::string& name, const std::string& more) {
    const Outcome outcome = on_ranks(
        ranks, CONCLAVE_PROGRAM,
        fmt::format("train --layers 2 --width 64 --heads 2 --context 32 --experts 12 --expert-hidden {} --sequences 16 "
                    "--groups 4 --steps 1000 --stop-after 24 --checkpoint-every 6 --eval-every 0 --eval-sequences 4 "
                    "--threads 1 "
                    "--out {} --placement-within 1000 {}",
                    hidden, folder.path(name), more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return count(outcome.output, "experts moved after step ");
  };
  EXPECT_EQ(trained(1, "even", ""), 0);
  const std::string digest = digest_of(folder.path("even"));
  Index moves = 0;
  for (const Index ranks : {1, 2, 3, 4, 6}) {
    const std::string name = fmt::format("on {}", ranks);
    moves += trained(ranks, fmt::format("'{}'", name), "--placement auto --placement-replicas 1");
    EXPECT_EQ(digest_of(fmt::format("'{}'", folder.path(name))), digest) << name;
  }
  EXPECT_GT(moves, 0);
}

// All tokens go to one expert, which has rows for several segments.
TEST(ExpertMoving, CopiesAHotExpertAndChangesNoBits) {
  const train::TemporaryFolder folder;
  const std::string options =
      "train --layers 1 --width 64 --heads 2 --context 32 --experts 3 --top-k 1 --router rule --rules 'default -> 1' "
      "--capacity-factor 0 --expert-hidden 2048 --sequences 96 --groups 4 --steps 1000 --stop-after 30 "
      "--checkpoint-every 10 "
      "--eval-every 0 --eval-sequences 4 --threads 1";
  const auto trained = [&](Index ranks, const std::string& name, const std::string& more) {
    const Outcome outcome =
        on_ranks(ranks, CONCLAVE_PROGRAM, fmt::format("{} --out {} {}", options, folder.path(name), more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.output;
  };
  trained(1, "even", "");
  const std::string said = trained(2, "copied", "--placement auto --placement-replicas 2");
  EXPECT_EQ(count(said, ", with 1 replica:"), 1) << said;
  EXPECT_EQ(digest_of(folder.path("copied")), digest_of(folder.path("even")));
}

TEST(ExpertMoving, IsRefusedWhereItCannotBe) {
  expect_refusal(on_ranks(1, CONCLAVE_PROGRAM, "train --placement-replicas 2"),
                 "placement_replicas = 2 with placement = even");
  expect_refusal(on_ranks(1, CONCLAVE_PROGRAM, "train --placement auto --placement-replicas -1"),
                 "placement_replicas = -1");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement auto --expert-sharing base+delta --expert-rank 2"),
                 "placement = auto with expert_sharing = base+delta");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement auto --placement-within 0"), "placement_within = 0");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement balanced"), "balanced");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --machine m.json"), "machine = m.json with placement = even");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement auto --moe-every 0 --cluster c.json"),
                 "cluster = c.json with moe_every = 0");
}

// What a calibration would have written.
std::string machine_file(const train::TemporaryFolder& folder) {
  sim::Machine machine;
  sim::ComputeRates& rates = machine.compute.emplace_back();
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value != Phase::wait)
      rates.phases[static_cast<std::size_t>(entry.value)].s_per_flop = {1e-10, 1e-10, 1e-10};
  }
  const sim::MessageLine line{{1e-6, 1e-6, 1e-6}, {1e9, 1e9, 1e9}};
  machine.node = {line, line, 0.0, {}};
  machine.provenance.host = "cupboard";
  machine.provenance.when = "yesterday";
  std::ofstream(folder.path("machine.json")) << sim::machine_text(machine);
  return folder.path("machine.json");
}

TEST(ExpertMoving, IsPricedByACalibrationAndACluster) {
  const train::TemporaryFolder folder;
  const std::string options = fmt::format(
      "train --layers 1 --width 16 --heads 2 --context 8 --experts 4 --sequences 4 --groups 4 --steps 12 "
      "--checkpoint-every 6 --eval-every 0 --threads 1 --placement auto --out {}",
      folder.path("run"));
  const std::string machine = machine_file(folder);
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, fmt::format("{} --machine {}", options, machine));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(count(outcome.output, fmt::format("priced by: {} (calibrated on cupboard, yesterday)", machine)), 1);
  expect_refusal(on_ranks(3, CONCLAVE_PROGRAM, options + "2 --machine " + folder.path("none.json")), "none.json");
  const std::string pairs = folder.path("pairs.json");
  std::ofstream(pairs) << R"({"nodes": 2, "ranks_per_node": 2, "nic_Bps": 1e9, "node_bus_Bps": 1e10, "latency_s": 1e-6,
                              "node_latency_s": 1e-7})";
  expect_refusal(on_ranks(3, CONCLAVE_PROGRAM, options + "2 --cluster " + pairs), "3 ranks");
  expect_refusal(on_ranks(4, CONCLAVE_PROGRAM, options + "2 --cluster " + pairs),
                 "4 ranks of it are 2 a node, these are 4");
}

}  // namespace
}  // namespace conclave
