// SPDX-License-Identifier: BSD-3-Clause
// Commands that hold a whole model in one process.
#pragma once

#include "apps/command.hpp"

namespace conclave::apps {

/// InputError, the same on every rank, if the command `name` was started on more than one.
inline void require_one_rank(const Session& session, std::string_view name) {
  if (session.world.size() == 1) return;
  throw InputError(fmt::format("conclave {} on {} ranks", name, session.world.size()),
                   "it holds the whole model in one process: start it without mpirun");
}

}  // namespace conclave::apps
