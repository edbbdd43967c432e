// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/clock_offset.hpp"

#include "comm/mpi/error.hpp"

namespace conclave::comm {
namespace {

constexpr int tag = 0;  // between two ranks messages come in order, and nothing else is under way
constexpr int root = 0;

std::int64_t nanoseconds(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

void send_time(const Communicator& communicator, int to) {
  const std::int64_t now = nanoseconds(Clock::now());
  check_mpi(MPI_Send(&now, 1, MPI_INT64_T, to, tag, communicator.handle()), "MPI_Send");
}

std::int64_t receive_time(const Communicator& communicator, int from) {
  std::int64_t time = 0;
  check_mpi(MPI_Recv(&time, 1, MPI_INT64_T, from, tag, communicator.handle(), MPI_STATUS_IGNORE), "MPI_Recv");
  return time;
}

void answer(const Communicator& communicator, int rank, Index rounds) {
  for (Index round = 0; round < rounds; ++round) {
    receive_time(communicator, rank);
    send_time(communicator, rank);
  }
}

// Rank 0 read its clock between asking and being told: in the middle, or off by half of the way at most.
ClockOffset ask(const Communicator& communicator, Index rounds) {
  ClockOffset best;
  for (Index round = 0; round < rounds; ++round) {
    const Clock::time_point asked = Clock::now();
    send_time(communicator, root);
    const std::int64_t root_ns = receive_time(communicator, root);
    const Clock::time_point told = Clock::now();
    const double half_way_s = 0.5 * std::chrono::duration<double>(told - asked).count();
    if (round > 0 && half_way_s >= best.uncertainty_s) continue;
    const Clock::time_point middle = asked + (told - asked) / 2;
    best = {middle, 1e-9 * static_cast<double>(root_ns - nanoseconds(middle)), half_way_s};
  }
  return best;
}

}  // namespace

ClockOffset measure_clock_offset(const Communicator& communicator, Index rounds) {
  invariant(rounds >= 1, "a clock's offset from {} rounds", rounds);
  communicator.barrier();
  ClockOffset offset{Clock::now()};
  for (RankId rank{1}; rank < RankId{communicator.size()}; ++rank) {
    if (communicator.is_root()) answer(communicator, static_cast<int>(rank.value()), rounds);
    if (communicator.rank() == rank) offset = ask(communicator, rounds);
  }
  communicator.barrier();
  return offset;
}

double offset_at(Clock::time_point moment, const ClockOffset& before, const ClockOffset& after) {
  const double between_s = std::chrono::duration<double>(after.at - before.at).count();
  if (between_s <= 0.0) return before.seconds;
  const double since_s = std::chrono::duration<double>(moment - before.at).count();
  return before.seconds + (after.seconds - before.seconds) * since_s / between_s;
}

}  // namespace conclave::comm
