// SPDX-License-Identifier: BSD-3-Clause
// How an error ends the program: told once, with its remedy, and on every rank.
#pragma once

#include "comm/mpi/communicator.hpp"

#include <exception>
#include <string>
#include <string_view>

namespace conclave::apps {

/// Exit codes beside 0, the same on every rank.
inline constexpr int failure = 1;
inline constexpr int wrong_use = 2;
inline constexpr int stopped = 75;  // saved, to be gone on with later: told to stop, or out of time (EX_TEMPFAIL)
inline constexpr int hung = 76;     // no progress, or a rank that died

/// What they mean, for --help.
inline constexpr std::string_view exit_codes_text =
    "Exit codes: 0 done, 1 failure, 2 wrong use, 75 a run that was told to stop, or whose time is up, has saved and "
    "can go on, 76 a run stood still or lost a rank.";

/// "WHO: message" and the hint, if the error has one, on stderr.
void print_error(const std::string& who, const std::exception& error);

/// Ends the job after `error`, which every rank may have met or this one alone: of all ranks that fail within three
/// seconds, one prints. Returns the exit code where there is one rank only; else does not return.
[[nodiscard]] int fail_job(const comm::Communicator& world, const std::string& who, const std::exception& error);

}  // namespace conclave::apps
