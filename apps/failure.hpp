// SPDX-License-Identifier: BSD-3-Clause
// How an error ends the program: told once, with its remedy, and on every rank.
#pragma once

#include "comm/mpi/communicator.hpp"

#include <exception>
#include <string>

namespace conclave::apps {

/// Exit codes beside 0.
inline constexpr int failure = 1;
inline constexpr int wrong_use = 2;
inline constexpr int hung = 76;  // no progress, or a rank that died

/// "WHO: message" and the hint, if the error has one, on stderr.
void print_error(const std::string& who, const std::exception& error);

/// Ends the job after `error`, which every rank may have met or this one alone: of all ranks that fail within half a
/// second, one prints. Returns the exit code where there is one rank only; else does not return.
[[nodiscard]] int fail_job(const comm::Communicator& world, const std::string& who, const std::exception& error);

}  // namespace conclave::apps
