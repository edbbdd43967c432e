// SPDX-License-Identifier: BSD-3-Clause
// How long ranks may take to come together at the program's start and end.
#pragma once

#include "runtime/core/stage_watch.hpp"

#include <span>
#include <string>

namespace conclave::apps {

/// For `words`, the command line after the program's name: hang_timeout, on the line or in the configuration file, of a
/// command that has it, else its default. What is wrong with the words is left to others. Before MPI_Init.
[[nodiscard]] StageWatch::Settings stage_limit(std::span<const std::string> words);

}  // namespace conclave::apps
