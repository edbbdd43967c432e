// SPDX-License-Identifier: BSD-3-Clause
// What `conclave train` records of the rows between its ranks, over a cut and a resume on other ranks, and that
// `conclave report` draws it.
#include "runtime/train/hdf5.hpp"
#include "tests/apps/program.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <map>

namespace conclave {
namespace {

using test::content_of;
using test::count;
using test::on_ranks;
using test::Outcome;

constexpr Index steps = 6;
constexpr Index kept_a_step = 2 * 6 * 12 * 2;  // two MoE layers, two choices of each token, none of them dropped

TEST(RecordedTraffic, CoversEveryStepOfARunThatIsCut) {
  const train::TemporaryFolder folder;
  const std::string out = folder.path("run");
  const std::string command = fmt::format(
      "train --steps {} --layers 2 --width 16 --heads 2 --context 12 --experts 5 --expert-hidden 16 --top-k 2 "
      "--capacity-factor 0 --sequences 6 --groups 6 --eval-every 0 --eval-sequences 1 --checkpoint-every 3 --threads 1 "
      "--resume auto --out {} ",
      steps, out);
  const Outcome cut = on_ranks(2, CONCLAVE_PROGRAM, command + "--stop-after 4");
  ASSERT_EQ(cut.exit_code, 0) << cut.output;
  const Outcome resumed = on_ranks(3, CONCLAVE_PROGRAM, command);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  std::map<Index, Index> rows_until;
  {
    const train::Hdf5File file = train::Hdf5File::open(out + "/run.h5");
    const auto step = file.read<Index>("/traffic/step");
    const auto ranks = file.read<Index>("/traffic/ranks");
    const auto rows = file.read<Index>("/traffic/rows");
    for (std::size_t i = 0; i < step.size(); ++i) {
      rows_until[step[i]] += rows[i];
      EXPECT_EQ(ranks[i], step[i] > 4 ? 3 : 2) << step[i];
    }
  }
  EXPECT_EQ(rows_until, (std::map<Index, Index>{{3, 3 * kept_a_step}, {4, kept_a_step}, {6, 2 * kept_a_step}}));

  const std::string page = folder.path("page.html");
  const Outcome report = test::conclave(fmt::format("report {} --out {}", out, page));
  ASSERT_EQ(report.exit_code, 0) << report.output;
  EXPECT_EQ(count(content_of(page), "2 steps, to step 6, between 3 ranks"), 1);
  EXPECT_EQ(count(content_of(page), "<title>Rows from rank to rank</title>"), 1);
}

}  // namespace
}  // namespace conclave
