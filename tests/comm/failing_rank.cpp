// SPDX-License-Identifier: BSD-3-Clause
// A job of which one rank fails while the others wait for it: as the main() of a real program handles it.
#include "comm/mpi/environment.hpp"

#include <cstdio>

int main(int argc, char** argv) {
  try {
    const conclave::comm::Environment environment(argc, argv);
    const auto& world = environment.world();
    if (world.rank() == conclave::RankId{world.size() - 1}) throw conclave::InputError("the last rank fails");
    world.barrier();  // never entered by the last rank
  } catch (const conclave::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    conclave::comm::Environment::abort(3);
  }
  return 0;
}
