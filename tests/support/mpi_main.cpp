// SPDX-License-Identifier: BSD-3-Clause
// main() of tests that run on several ranks: rank 0 reports, failures of other ranks are told with their rank, and a
// failure on any rank fails the test.
#include "comm/mpi/environment.hpp"
#include "runtime/core/gemm.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/support/mpi_world.hpp"

namespace {

const conclave::comm::Communicator* the_world = nullptr;

class Failures : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    if (!the_world->is_root()) {
      std::fprintf(stderr, "rank %lld: %s:%d: %s\n", static_cast<long long>(the_world->rank().value()),
                   result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(), result.message());
    }
    // An exception or a failed assertion leaves the test while other ranks may wait for this one.
    if (result.fatally_failed() && the_world->size() > 1) {
      std::fprintf(stderr, "rank %lld left its test: all ranks end here\n",
                   static_cast<long long>(the_world->rank().value()));
      std::fflush(stdout);
      conclave::comm::Environment::abort(1);
    }
  }
};

}  // namespace

const conclave::comm::Communicator& conclave::test::world() { return *the_world; }

int main(int argc, char** argv) {
  conclave::comm::Environment environment(argc, argv);
  the_world = &environment.world();
  conclave::make_blas_single_threaded();  // as the program does: or bits would depend on the number of cores a rank
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (!the_world->is_root()) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Failures);
  const int failed = RUN_ALL_TESTS();
  return static_cast<int>(the_world->max(static_cast<std::int64_t>(failed)));
}
