// SPDX-License-Identifier: BSD-3-Clause
// failing_job all | RANK: a job that fails on all its ranks, or on one of them while the others wait for it.
#include "apps/failure.hpp"
#include "comm/mpi/environment.hpp"

#include <cstdlib>

int main(int argc, char** argv) {
  using namespace conclave;
  comm::Environment environment(argc, argv);
  const comm::Communicator& world = environment.world();
  const std::string who = argc > 1 ? argv[1] : "all";
  try {
    if (who == "all" || std::atoi(who.c_str()) == world.rank().value()) throw InputError("it failed", "mend it");
    world.barrier();
  } catch (const std::exception& error) {
    return apps::fail_job(world, "failing_job", error);
  }
  return 0;
}
