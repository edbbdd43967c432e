// SPDX-License-Identifier: BSD-3-Clause
#include "apps/progress.hpp"

#include <gtest/gtest.h>

namespace conclave::apps {
namespace {

TEST(Progress, writes_time_for_people) {
  EXPECT_EQ(time_text(0.0), "0 s");
  EXPECT_EQ(time_text(-1.0), "0 s");
  EXPECT_EQ(time_text(59.4), "59 s");
  EXPECT_EQ(time_text(59.6), "1 min 0 s");
  EXPECT_EQ(time_text(200.0), "3 min 20 s");
  EXPECT_EQ(time_text(5 * 3600 + 12 * 60 + 3), "5 h 12 min");
  EXPECT_EQ(time_text(2 * 86400 + 4 * 3600), "2 d 4 h");
}

TEST(Progress, tells_the_time_left_from_the_steps_of_this_run) {
  EXPECT_EQ(progress_text(0, 250, 1000, 50.0, "loss 2.5", 100), "step 250/1000  loss 2.5  2 min 30 s left");
  // Resumed after 900 steps: 50 of them took 10 s.
  EXPECT_EQ(progress_text(900, 950, 1000, 10.0, "", 100), "step 950/1000  10 s left");
  EXPECT_EQ(progress_text(900, 900, 1000, 3.0, "", 100), "step 900/1000");
  EXPECT_EQ(progress_text(0, 1000, 1000, 9.0, "loss 2", 100), "step 1000/1000  loss 2");
}

TEST(Progress, fits_the_width) {
  EXPECT_EQ(progress_text(0, 250, 1000, 50.0, "loss 2.5", 17), "step 250/1000  lo");
  EXPECT_EQ(progress_text(0, 250, 1000, 50.0, "loss 2.5", 0), "");
}

TEST(Progress, in_a_log_shows_the_first_and_the_last_step) {
  testing::internal::CaptureStderr();
  {
    Progress progress(0, 100, true);
    for (Index step = 1; step <= 100; ++step) progress.update(step, "loss 1");
    progress.note("checkpoint written");
  }
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(shown.starts_with("step 1/100  loss 1")) << shown;
  EXPECT_TRUE(shown.ends_with("\nstep 100/100  loss 1\ncheckpoint written\n")) << shown;
  EXPECT_EQ(shown.find('\r'), std::string::npos) << shown;
}

TEST(Progress, shows_the_last_state_when_it_ends_early) {
  testing::internal::CaptureStderr();
  {
    Progress progress(0, 100, true);
    progress.update(1, "");
    progress.update(2, "");
  }
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_NE(shown.find("step 2/100"), std::string::npos) << shown;
  EXPECT_TRUE(shown.ends_with("\n")) << shown;
}

TEST(Progress, is_silent_on_other_ranks) {
  testing::internal::CaptureStderr();
  {
    Progress progress(0, 1, false);
    progress.update(1, "loss 1");
    progress.note("checkpoint written");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace conclave::apps
