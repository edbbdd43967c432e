// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/folder_lock.hpp"

#include "runtime/core/error.hpp"
#include "tests/support/file_content.hpp"
#include "tests/train/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace conclave::train {
namespace {

using testing::HasSubstr;

struct Told {
  std::string text;
  FolderLock::Tell tell() {
    return [this](const std::string& line) { text += line + '\n'; };
  }
};

// What `work` is refused with; empty if it is not.
template <class Work>
std::string refusal(Work&& work) {
  try {
    work();
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

TEST(FolderLock, is_one_owners_until_that_one_ends) {
  const TemporaryFolder folder;
  const std::string run = folder.path("new/run");
  Told told;
  std::optional<FolderLock> first(std::in_place, "", told.tell());
  EXPECT_TRUE(first->take(run));
  EXPECT_FALSE(first->take(run));
  EXPECT_EQ(told.text, "");

  FolderLock second("", told.tell());
  const std::string refused = refusal([&] { second.take(run, 0.3); });
  EXPECT_THAT(refused, HasSubstr(run));
  EXPECT_THAT(refused, HasSubstr(fmt::format("is in use by process {} on ", ::getpid())));
  EXPECT_THAT(told.text, HasSubstr("waits for its end"));
  EXPECT_TRUE(first->is_held(0.0));

  first.reset();
  FolderLock third("", told.tell());
  third.take(run, 0.0);
  EXPECT_TRUE(third.is_held(0.0));
}

TEST(FolderLock, goes_over_to_a_later_start_of_the_same_job) {
  const TemporaryFolder folder;
  const std::string run = folder.path("run");
  Told told;
  FolderLock stale("71", told.tell());
  stale.take(run);
  FolderLock other("72", told.tell());
  EXPECT_THAT(refusal([&] { other.take(run, 0.0); }), HasSubstr("(job 71)"));
  EXPECT_TRUE(stale.is_held(0.0));

  FolderLock successor("71", told.tell());
  successor.take(run, 0.0);
  EXPECT_THAT(told.text, HasSubstr("takes '" + run + "' over from an earlier start of the same job"));
  EXPECT_TRUE(successor.is_held(0.0));
  EXPECT_FALSE(stale.is_held(0.0));
  EXPECT_FALSE(stale.is_held(1e9)) << "what is lost stays lost";
  EXPECT_THAT(refusal([&] { stale.refuse_loss(); }), HasSubstr("taken over by process"));
}

// Which may be saving just then.
TEST(FolderLock, is_taken_over_when_the_earlier_start_has_ended) {
  const TemporaryFolder folder;
  const std::string run = folder.path("run");
  Told told;
  std::optional<FolderLock> stale(std::in_place, "71", told.tell());
  stale->take(run);
  std::atomic<bool> has_ended{false};
  std::thread twin([&] {
    while (stale->is_held(0.0)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    has_ended = true;
    stale.reset();
  });
  FolderLock successor("71", told.tell());
  successor.take(run, 60.0);
  EXPECT_TRUE(has_ended);
  twin.join();
  EXPECT_THAT(told.text, HasSubstr("takes '" + run + "' over"));
  EXPECT_TRUE(successor.is_held(0.0));
  FolderLock other("72", told.tell());
  EXPECT_THAT(refusal([&] { other.take(run, 0.0); }), HasSubstr("(job 71)")) << "the lock is the successor's";
}

TEST(FolderLock, is_not_lost_with_a_folder_that_is_away_or_half_written) {
  const TemporaryFolder folder;
  const std::string run = folder.path("run");
  Told told;
  FolderLock lock("", told.tell());
  lock.take(run);
  const std::string own = test::content_of(run + "/run.lock");
  std::filesystem::rename(run, folder.path("away"));
  EXPECT_TRUE(lock.is_held(0.0));
  folder.write("run/run.lock", "process 1 on");
  EXPECT_TRUE(lock.is_held(0.0));
  folder.write("run/run.lock", own);
  EXPECT_TRUE(lock.is_held(0.0));
  folder.write("run/run.lock", "process 1 on another node\njob \n0123\n");
  EXPECT_TRUE(lock.is_held(1e9)) << "looks no more often than it is asked to";
  EXPECT_FALSE(lock.is_held(0.0));
}

TEST(FolderLock, follows_no_link) {
  const TemporaryFolder folder;
  folder.write("precious", "mine");
  std::filesystem::create_directory(folder.path("run"));
  std::filesystem::create_symlink(folder.path("precious"), folder.path("run/run.lock"));
  Told told;
  FolderLock lock("", told.tell());
  EXPECT_THAT(refusal([&] { lock.take(folder.path("run")); }), HasSubstr("run.lock"));
  EXPECT_EQ(test::content_of(folder.path("precious")), "mine");
}

}  // namespace
}  // namespace conclave::train
