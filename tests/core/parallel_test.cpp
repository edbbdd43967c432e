// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/parallel.hpp"

#include "runtime/core/error.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace conclave {
namespace {

// Runs a test with a number of threads and gives the old number back.
class ThreadCount {
 public:
  explicit ThreadCount(Index threads) : before_(num_threads()) { use_threads(threads); }
  ~ThreadCount() { use_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  Index before_;
};

class Parallel : public testing::TestWithParam<Index> {
 protected:
  ThreadCount threads_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Threads, Parallel, testing::Values(1, 2, 3, 8));

TEST_P(Parallel, EachCallHappensOnceAndItsWorkIsSeen) {
  EXPECT_EQ(num_threads(), GetParam());
  for (const std::size_t count : {0, 1, 2, 7, 1000}) {
    // Plain memory on purpose: written before, during and after the calls by different threads.
    std::vector<int> calls(count, 1);
    std::vector<std::string> texts(count);
    parallel_for(static_cast<Index>(count), [&](Index i) {
      calls[static_cast<std::size_t>(i)] += 1;
      texts[static_cast<std::size_t>(i)] = std::to_string(i) + " is long enough to be allocated";
    });
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(calls[i], 2);
      EXPECT_EQ(texts[i], std::to_string(i) + " is long enough to be allocated");
    }
  }
}

TEST_P(Parallel, TheCallerHasWorkOfItsOwnBetweenItsCalls) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> calls_of_caller{0};
  int between = 0;  // plain memory: only the caller may touch it
  parallel_for(
      100,
      [&](Index) {
        if (std::this_thread::get_id() == caller) calls_of_caller.fetch_add(1);
      },
      [&] {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        ++between;
      });
  EXPECT_EQ(between, calls_of_caller.load());
  EXPECT_TRUE(GetParam() > 1 || between == 100) << between;
}

TEST_P(Parallel, WhatTheCallerThrowsBetweenItsCallsComesOut) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> caller_called{false};
  bool thrown = false;
  try {
    parallel_for(
        64,
        [&](Index) {
          if (std::this_thread::get_id() == caller) caller_called = true;
        },
        [] { throw InputError("a message failed", "none"); });
  } catch (const InputError&) {
    thrown = true;
  }
  EXPECT_EQ(thrown, caller_called.load());
}

TEST_P(Parallel, TheExceptionOfTheLowestCallComesOut) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> calls_below{0};
    try {
      parallel_for(64, [&](Index i) {
        if (i < 20) calls_below.fetch_add(1);
        if (i == 20 || i == 21 || i == 50) throw InputError("call " + std::to_string(i), "none");
      });
      FAIL() << "the exception was lost";
    } catch (const InputError& error) {
      EXPECT_STREQ(error.what(), "call 20");
      EXPECT_EQ(error.hint(), "none");
    }
    EXPECT_EQ(calls_below.load(), 20);
  }
  std::atomic<int> calls{0};
  parallel_for(5, [&](Index) { calls.fetch_add(1); });
  EXPECT_EQ(calls.load(), 5) << "after a failure the next loop is whole";
}

TEST_P(Parallel, NestingIsADefect) {
  EXPECT_THROW(parallel_for(3, [](Index) { parallel_for(1, [](Index) {}); }), InvariantError);
  EXPECT_NO_THROW(parallel_for(3, [](Index) {}));
}

TEST(ParallelThreads, RunAtTheSameTime) {
  constexpr int threads = 3;
  const ThreadCount use(threads);
  std::atomic<int> arrived{0};
  std::atomic<int> met{0};
  parallel_for(threads, [&](Index) {
    arrived.fetch_add(1);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived.load() < threads && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    if (arrived.load() == threads) met.fetch_add(1);
  });
  EXPECT_EQ(met.load(), threads);
}

TEST(ParallelThreads, ANumberThatCannotBeIsAnInputError) {
  const Index before = num_threads();
  for (const Index wrong : {Index{0}, Index{-3}, Index{1} << 40}) {
    try {
      use_threads(wrong);
      ADD_FAILURE() << wrong << " threads were accepted";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(wrong)), std::string::npos);
      EXPECT_FALSE(error.hint().empty());
    }
  }
  EXPECT_EQ(num_threads(), before);
}

}  // namespace
}  // namespace conclave
