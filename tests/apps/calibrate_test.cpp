// SPDX-License-Identifier: BSD-3-Clause
// `conclave bench calibrate` as a user calls it, on a machine that may be busy.
#include "runtime/sim/machine.hpp"
#include "tests/apps/refusal.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>

#include <filesystem>

namespace conclave {
namespace {

using test::conclave;
using test::content_of;
using test::count;
using test::expect_refusal;
using test::on_ranks;
using test::Outcome;
using train::TemporaryFolder;

void expect_all_phases(const sim::ComputeRates& rates) {
  for (const auto& entry : enum_names(Phase{})) {
    if (entry.value == Phase::wait) continue;
    const sim::Rate& rate = rates.of(entry.value);
    EXPECT_NE(rate, sim::Rate{}) << entry.name;
  }
}

TEST(BenchCalibrate, WritesAMachineThatSimulationsRead) {
  const TemporaryFolder folder;
  for (const Index ranks : {1, 2, 3}) {
    SCOPED_TRACE(fmt::format("{} ranks", ranks));
    const std::string file = folder.path(fmt::format("machine-{}.json", ranks));
    const std::string csv = folder.path(fmt::format("measured-{}.csv", ranks));
    const Outcome outcome = on_ranks(ranks, CONCLAVE_PROGRAM,
                                     fmt::format("bench calibrate --quick --rounds {} --accept-noise --out {} --csv {}",
                                                 ranks > 1 ? 2 : 1, file, csv));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "written: " + file), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "busy ranks a node"), ranks > 1 ? 2 : 1) << outcome.output;
    const sim::Machine machine = sim::read_machine(content_of(file), file);
    ASSERT_EQ(machine.compute.size(), ranks > 1 ? 2U : 1U);
    EXPECT_EQ(machine.compute.front().active_ranks, 1);
    EXPECT_EQ(machine.compute.back().active_ranks, ranks);
    for (const sim::ComputeRates& rates : machine.compute) expect_all_phases(rates);
    EXPECT_GT(machine.cache_bytes, 0.0);
    const std::string measured = content_of(csv);
    EXPECT_EQ(count(measured, "active_ranks,phase,shape,calls,flops,bytes,far_bytes,elements,measured_s,fitted_s\n"),
              1);
    EXPECT_GE(count(measured, ",experts,"), 10 * (ranks > 1 ? 2 : 1)) << "a line for each shape with experts";
    EXPECT_EQ(machine.node.has_value(), ranks > 1);
    EXPECT_EQ(machine.shared_memory.has_value(), ranks > 1);
    EXPECT_FALSE(machine.network.has_value());
    ASSERT_TRUE(machine.file.has_value());
    EXPECT_GT(machine.noise.deviation_s(1e-3), 0.0);
    EXPECT_GT(machine.drift_sigma, 0.0) << "of one round too";
    EXPECT_EQ(machine.provenance.ranks, ranks);
    EXPECT_EQ(machine.provenance.threads, 1);
    EXPECT_FALSE(machine.provenance.cpu.empty());
    EXPECT_FALSE(std::filesystem::exists(file + ".trial"));
  }
}

TEST(BenchCalibrate, RefusesAMachineThatIsNotItsOwn) {
  const TemporaryFolder folder;
  const std::string file = folder.path("machine.json");
  folder.write("machine.json", "of before");
  const std::string calibrate = "bench calibrate --quick --out " + file;
  for (const Index ranks : {1, 2, 3}) {
    expect_refusal(on_ranks(ranks, CONCLAVE_PROGRAM, calibrate + " --threads 4096"),
                   fmt::format("{} ranks x 4096 threads on a node of", ranks));
  }
  // Timings are never the same to so many digits. More ranks than CPUs would be refused before.
  expect_refusal(conclave(calibrate + " --threads 1 --most-noise 1e-9"),
                 "the machine is too busy: the same steps took");
  EXPECT_EQ(content_of(file), "of before");
}

TEST(BenchCalibrate, RefusesWhatItCannotWriteBeforeItMeasures) {
  const std::string calibrate = "bench calibrate --quick --accept-noise --threads 1 ";
  expect_refusal(conclave(calibrate + "--out /nonexistent/machine.json"), "/nonexistent/machine.json");
  expect_refusal(conclave(calibrate + "--out /"), "out = '/' is no name of a file");
  expect_refusal(conclave(calibrate + "--most-noise 0"), "most_noise = 0");
  expect_refusal(conclave(calibrate + "--rounds 0"), "rounds = 0");
  expect_refusal(conclave(calibrate + "--repeats 3"), "unknown option '--repeats'");
}

}  // namespace
}  // namespace conclave
