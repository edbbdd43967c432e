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

TEST(ExpertMoving, IsRefusedWhereItCannotBe) {
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement auto --expert-sharing base+delta --expert-rank 2"),
                 "placement = auto with expert_sharing = base+delta");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement auto --placement-within 0"), "placement_within = 0");
  expect_refusal(on_ranks(2, CONCLAVE_PROGRAM, "train --placement balanced"), "balanced");
}

}  // namespace
}  // namespace conclave
