// SPDX-License-Identifier: BSD-3-Clause
// `conclave train --placement auto` as a user calls it.
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
// sure, by far.
TEST(ExpertMoving, ChangesNoBits) {
  const train::TemporaryFolder folder;
  const std::string options =
      "train --layers 2 --width 64 --heads 2 --context 32 --experts 4 --expert-hidden 2048,2048,16,16 --sequences 16 "
      "--groups 4 --steps 60 --checkpoint-every 10 --eval-every 0 --eval-sequences 4 --threads 1";
  const auto trained = [&](Index ranks, const std::string& name, const std::string& more) {
    const Outcome outcome =
        on_ranks(ranks, CONCLAVE_PROGRAM, fmt::format("{} --out {} {}", options, folder.path(name), more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    return outcome.output;
  };
  EXPECT_EQ(count(trained(1, "even", ""), "experts moved"), 0);
  const std::string said = trained(2, "moved", "--placement auto --stop-after 15");
  EXPECT_EQ(count(said, "experts moved after step 10: the fullest rank had 1."), 1) << said;
  trained(3, "moved", "--placement auto --checkpoint-async --resume " + folder.path("moved"));
  EXPECT_EQ(digest_of(folder.path("moved")), digest_of(folder.path("even")));
}

// All tokens go to one expert, which has rows for several segments.
TEST(ExpertMoving, CopiesAHotExpertAndChangesNoBits) {
  const train::TemporaryFolder folder;
  const std::string options =
      "train --layers 1 --width 64 --heads 2 --context 32 --experts 3 --top-k 1 --router rule --rules 'default -> 1' "
      "--capacity-factor 0 --expert-hidden 2048 --sequences 96 --groups 4 --steps 30 --checkpoint-every 10 "
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
}

}  // namespace
}  // namespace conclave
