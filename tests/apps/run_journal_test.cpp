// SPDX-License-Identifier: BSD-3-Clause
// What a run's log does not take ends the run: it must not be lost in silence.
#include "apps/run_journal.hpp"

#include "tests/support/mpi_world.hpp"
#include "tests/train/run_log_fixture.hpp"

namespace conclave::apps {
namespace {

using test::world;

TEST(RunJournal, does_not_go_on_beside_an_evaluation_that_the_log_refuses) {
  const train::TemporaryFolder folder(std::to_string(world().rank().value()));
  train::TrainOptions options;
  options.out = folder.path();
  if (world().is_root()) {
    train::RunLog log(options.out, 0, {}, {});
    for (Index step = 1; step <= 4; ++step) train::append(log, step);
    log.flush();
  }
  std::vector<std::string> told;
  RunJournal journal(options, 4, {}, {}, world(), [&](const std::string& line) { told.push_back(line); });
  journal.append(train::some_step(5));
  EXPECT_FALSE(journal.has_failed());
  journal.refuse_failure();
  journal.append(train::some_evaluation(5, {.domains = false}));
  EXPECT_EQ(journal.has_failed(), world().is_root());
  EXPECT_TRUE(told.empty());
  for (const auto& ask : {&RunJournal::refuse_failure, &RunJournal::close}) {
    try {
      (journal.*ask)();
      ADD_FAILURE() << "the run would go on";
    } catch (const InputError& error) {  // on every rank, which are here together
      EXPECT_NE(std::string(error.what()).find("/evaluations/domain_information"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace conclave::apps
