// SPDX-License-Identifier: BSD-3-Clause
// main() of tests that run on several ranks: rank 0 reports, failures of other ranks are told with their rank, and a
// failure on any rank fails the test.
#include "comm/mpi/environment.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/mpi_world.hpp"

namespace {

const conclave::comm::Communicator* the_world = nullptr;

class OtherRankFailures : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %lld: %s:%d: %s\n", static_cast<long long>(the_world->rank().value()),
                 result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(), result.message());
  }
};

}  // namespace

const conclave::comm::Communicator& conclave::test::world() { return *the_world; }

int main(int argc, char** argv) {
  conclave::comm::Environment environment(argc, argv);
  the_world = &environment.world();
  testing::InitGoogleTest(&argc, argv);
  if (!the_world->is_root()) {
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new OtherRankFailures);
  }
  const int failed = RUN_ALL_TESTS();
  return static_cast<int>(the_world->max(static_cast<std::int64_t>(failed)));
}
