// SPDX-License-Identifier: BSD-3-Clause
// A run from the command line: trained, cut, resumed, used, on several ranks.
#include "runtime/train/hdf5.hpp"
#include "tests/apps/program.hpp"
#include "tests/support/sanitizer.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

namespace conclave {
namespace {

using test::conclave;
using test::count;
using test::digest_of;
using test::on_ranks;
using test::Outcome;
using test::run;
using test::without_speed;
using train::TemporaryFolder;

const std::string small =
    "train --steps 6 --layers 2 --width 40 --heads 2 --context 12 --experts 5 --expert-hidden 48 --sequences 10 "
    "--groups 5 --eval-sequences 7 --checkpoint-every 2 --eval-every 3 ";

void expect_success(const Outcome& outcome) { ASSERT_EQ(outcome.exit_code, 0) << outcome.output; }

TEST(Training, has_the_same_bits_on_other_ranks_and_threads_and_when_cut) {
  const TemporaryFolder folder;
  expect_success(conclave(small + "--threads 2 --out " + folder.path("one")));
  expect_success(on_ranks(3, CONCLAVE_PROGRAM, small + "--threads 1 --stop-after 4 --out " + folder.path("three")));
  expect_success(on_ranks(2, CONCLAVE_PROGRAM, "train --threads 1 --resume " + folder.path("three")));
  const std::string digest = digest_of(folder.path("one"));
  EXPECT_EQ(digest.size(), 16U) << digest;
  EXPECT_EQ(digest_of(folder.path("three")), digest);
  EXPECT_NE(digest_of(folder.path("one/step-00000004.h5")), digest);

  // The log has every step once, and the configuration makes the same run again.
  std::ifstream file(folder.path("three/metrics.jsonl"));
  const std::string log((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(count(log, "\"kind\":\"step\""), 6) << log;
  expect_success(conclave(fmt::format("train --config {} --resume '' --out {} --stop-after 0",
                                      folder.path("one/config.ini"), folder.path("again"))));
  EXPECT_EQ(digest_of(folder.path("again")), digest);
}

TEST(Training, keeps_runs_apart) {
  const TemporaryFolder folder;
  const std::string out = folder.path("run");
  expect_success(conclave(small + "--out " + out));
  const Outcome again = conclave(small + "--out " + out);
  EXPECT_NE(again.exit_code, 0);
  EXPECT_EQ(count(again.output, "already holds checkpoints"), 1) << again.output;
  const Outcome back = on_ranks(2, CONCLAVE_PROGRAM, "train --resume " + out + "/step-00000004.h5");
  EXPECT_NE(back.exit_code, 0);
  EXPECT_EQ(count(back.output, "holds a newer checkpoint"), 1) << back.output;
  expect_success(conclave("train --resume " + out + "/step-00000004.h5 --out " + folder.path("branch")));
  EXPECT_EQ(digest_of(folder.path("branch")), digest_of(out));
  EXPECT_TRUE(std::filesystem::exists(out + "/step-00000006.h5"));
}

TEST(Training, begins_or_goes_on_with_one_command_line) {
  const TemporaryFolder folder;
  expect_success(conclave(small + "--out " + folder.path("from")));
  const std::string options = small + "--seed 3 --init-from " + folder.path("from") + " --out ";
  expect_success(conclave(options + folder.path("whole")));
  const std::string again = options + folder.path("run") + " --resume auto";
  const Outcome first = conclave(again + " --stop-after 2");
  expect_success(first);
  EXPECT_EQ(count(first.output, "begins at the parameters of"), 1) << first.output;
  const Outcome second = on_ranks(2, CONCLAVE_PROGRAM, again);
  expect_success(second);
  EXPECT_EQ(count(second.output, "step-00000002.h5 after step 2"), 1) << second.output;
  EXPECT_EQ(digest_of(folder.path("run")), digest_of(folder.path("whole")));
  const Outcome third = conclave(again);
  expect_success(third);
  EXPECT_EQ(count(third.output, "nothing to do: 6 of 6 steps are done"), 1) << third.output;
}

TEST(Training, shares_bases_and_rests_gates_with_the_same_bits_when_cut) {
  const TemporaryFolder folder;
  const std::string options = small + "--expert-sharing base+delta --expert-rank 4 --gate-every 3 --freeze dense ";
  const Outcome whole = conclave(options + "--out " + folder.path("one"));
  expect_success(whole);
  EXPECT_EQ(count(whole.output, "parameters, 7680 of them shared; "), 1) << whole.output;
  EXPECT_EQ(count(whole.output, " MiB unshared"), 1) << whole.output;
  expect_success(on_ranks(3, CONCLAVE_PROGRAM, options + "--stop-after 4 --out " + folder.path("three")));
  expect_success(on_ranks(2, CONCLAVE_PROGRAM, "train --resume " + folder.path("three")));
  EXPECT_EQ(digest_of(folder.path("three")), digest_of(folder.path("one")));
  const std::string evaluate = "evaluate --sequences 7 --checkpoint " + folder.path("one");
  const Outcome loss = conclave(evaluate);
  expect_success(loss);
  EXPECT_EQ(on_ranks(3, CONCLAVE_PROGRAM, evaluate).output, loss.output);
}

TEST(Training, begins_at_a_checkpoint_once) {
  const TemporaryFolder folder;
  const std::string dense = "--moe-every 0 --dense-hidden 48 ";
  expect_success(conclave(small + dense + "--out " + folder.path("dense")));
  const std::string upcycled =
      small + "--capacity-factor 0 --upcycle --upcycle-noise 0.1 --init-from " + folder.path("dense");
  const Outcome whole = conclave(upcycled + " --out " + folder.path("one"));
  expect_success(whole);
  EXPECT_EQ(count(whole.output, "step-00000006.h5, step 6, upcycled\n"), 1) << whole.output;
  expect_success(on_ranks(3, CONCLAVE_PROGRAM, upcycled + " --stop-after 2 --out " + folder.path("three")));
  const Outcome again = conclave("train --resume " + folder.path("three") + " --init-from " + folder.path("dense"));
  EXPECT_NE(again.exit_code, 0);
  EXPECT_EQ(count(again.output, "leave init_from out"), 1) << again.output;
  const Outcome resumed = on_ranks(2, CONCLAVE_PROGRAM, "train --resume " + folder.path("three"));
  expect_success(resumed);
  EXPECT_EQ(count(resumed.output, "begins at"), 0) << resumed.output;
  EXPECT_EQ(digest_of(folder.path("three")), digest_of(folder.path("one")));
  const Outcome other =
      on_ranks(2, CONCLAVE_PROGRAM, small + "--init-from " + folder.path("dense") + " --out " + folder.path("other"));
  EXPECT_NE(other.exit_code, 0);
  EXPECT_EQ(count(other.output, "moe_every: 0 in the checkpoint, 1 here"), 1) << other.output;
  EXPECT_FALSE(std::filesystem::exists(folder.path("other")));
}

TEST(Training, leaves_a_model_that_can_be_used_on_any_number_of_ranks) {
  const TemporaryFolder folder;
  expect_success(conclave(small + "--out " + folder.path()));
  const std::string generate = "generate --tokens 20 --prompt ab --checkpoint " + folder.path();
  const Outcome one = conclave(generate);
  expect_success(one);
  EXPECT_GE(one.output.size(), 23U);
  EXPECT_EQ(count(one.output, "20 tokens of 1 text in "), 1) << one.output;
  EXPECT_EQ(without_speed(on_ranks(3, CONCLAVE_PROGRAM, generate).output), without_speed(one.output));
  const std::string evaluate = "evaluate --sequences 7 --checkpoint " + folder.path();
  const Outcome loss = conclave(evaluate);
  expect_success(loss);
  EXPECT_EQ(count(loss.output, "nats/token over 84 tokens"), 1) << loss.output;
  EXPECT_EQ(on_ranks(2, CONCLAVE_PROGRAM, evaluate).output, loss.output);
}

TEST(Checking, ends_every_rank_where_one_meets_numbers_that_are_not_finite) {
  const TemporaryFolder folder;
  const std::string copy = folder.path("huge.h5");
  std::filesystem::copy_file(CONCLAVE_CASES "/topk2-dropless.h5", copy);
  {
    train::Hdf5File file = train::Hdf5File::open_writable(copy);
    const std::vector<float> huge(16, std::numeric_limits<float>::infinity());
    file.write_range<float>("/input/x", {0, 16}, huge.data());
    file.close();
  }
  const Outcome outcome = on_ranks(2, CONCLAVE_PROGRAM, fmt::format("check {} {}/tiny.h5", copy, CONCLAVE_CASES));
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_NE(outcome.exit_code, 124) << "it hung";
  EXPECT_GE(count(outcome.output, "token 0 are not finite"), 1) << outcome.output;
}

// A case that says nothing but its tokens.
void write_bare_case(const std::string& path) {
  train::Hdf5File file = train::Hdf5File::create(path);
  file.write_attribute("/", "format", std::string("moe-layer-case"));
  file.write_attribute("/", "version", std::int64_t{1});
  file.create_group("/config");
  file.write_attribute("/config", "tokens", std::int64_t{1});
  file.close();
}

TEST(Checking, says_what_is_wrong_where_no_gradient_is) {
  const TemporaryFolder folder;
  const std::string copy = folder.path("wrong.h5");
  std::filesystem::copy_file(CONCLAVE_CASES "/tiny.h5", copy);
  {
    train::Hdf5File file = train::Hdf5File::open_writable(copy);
    const std::vector<double> y{1e6};
    file.write_range<double>("/expected/y", {0, 1}, y.data());
    file.close();
  }
  const Outcome outcome = conclave("check " + copy);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "FAILED: y\n"), 1) << outcome.output;
}

TEST(Checking, refuses_cases_of_other_versions_and_such_that_leave_options_out) {
  const TemporaryFolder folder;
  const std::string copy = folder.path("other.h5");
  std::filesystem::copy_file(CONCLAVE_CASES "/tiny.h5", copy);
  const auto change = [&](const std::function<void(train::Hdf5File&)>& work) {
    train::Hdf5File file = train::Hdf5File::open_writable(copy);
    work(file);
    file.close();
  };
  change([](train::Hdf5File& file) { file.rewrite_attribute<std::int32_t>("/", "version", 2); });
  const Outcome version = conclave("check " + copy);
  EXPECT_EQ(version.exit_code, 1) << version.output;
  EXPECT_EQ(count(version.output, "is a reference case of version 2; this program reads version 1"), 1)
      << version.output;
  std::filesystem::remove(copy);
  write_bare_case(copy);
  const Outcome missing = conclave("check " + copy);
  EXPECT_EQ(missing.exit_code, 1) << missing.output;
  EXPECT_EQ(count(missing.output, "does not say groups, "), 1) << missing.output;
}

TEST(Checkpoint, refuses_more_memory_than_a_node_has) {
  const TemporaryFolder folder;
  const Outcome many =
      run(fmt::format("timeout 60 {} train --layers 1000000 --out {}", CONCLAVE_PROGRAM, folder.path("many")));
  EXPECT_EQ(many.exit_code, 1) << many.output;
  EXPECT_EQ(count(many.output, "this run needs "), 1) << many.output;
  const Outcome most = run(fmt::format("timeout 60 {} train --layers 16777216 --width 16777216 --heads 2 --out {}",
                                       CONCLAVE_PROGRAM, folder.path("most")));
  EXPECT_EQ(most.exit_code, 1) << most.output;
  EXPECT_EQ(count(most.output, "this run needs "), 1) << most.output;
  EXPECT_FALSE(std::filesystem::exists(folder.path("many")));
}

TEST(Checkpoint, refuses_more_memory_than_its_address_space_has) {
  SKIP_UNDER_ADDRESS_SANITIZER();
  const TemporaryFolder folder;
  const Outcome limited =
      run(fmt::format("bash -c 'ulimit -v 4000000; exec timeout 60 {} train --width 4096 --layers 8 --out {}'",
                      CONCLAVE_PROGRAM, folder.path("limited")));
  EXPECT_EQ(limited.exit_code, 1) << limited.output;
  EXPECT_EQ(count(limited.output, "(ulimit -v)"), 1) << limited.output;
}

TEST(Checking, refuses_a_damaged_case_and_goes_on) {
  const TemporaryFolder folder;
  folder.write("broken.h5", "no HDF5");
  const Outcome outcome =
      on_ranks(2, CONCLAVE_PROGRAM, fmt::format("check {} {}/tiny.h5", folder.path("broken.h5"), CONCLAVE_CASES));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "REFUSED"), 1) << outcome.output;
  EXPECT_EQ(count(outcome.output, "1 of 2 cases passed"), 1) << outcome.output;
}

}  // namespace
}  // namespace conclave
