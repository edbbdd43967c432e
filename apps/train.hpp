// SPDX-License-Identifier: BSD-3-Clause
// A training run as `conclave train` does it, for other commands.
#pragma once

#include "apps/command.hpp"
#include "apps/train_options.hpp"

namespace conclave::apps {

/// Trains with these options and all that belongs to a run: its folder, log, checkpoints, evaluations and progress.
/// Returns the exit code, 0 when all steps are done. InputError as `conclave train`. Collective.
[[nodiscard]] int train_model(const TrainCommand& given, const Session& session);

}  // namespace conclave::apps
