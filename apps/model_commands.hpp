// SPDX-License-Identifier: BSD-3-Clause
// The commands that make other files or other models of a checkpoint.
#pragma once

#include "apps/command.hpp"

namespace conclave::apps {

[[nodiscard]] Command export_command();
[[nodiscard]] Command import_command();
[[nodiscard]] Command edit_command();
[[nodiscard]] Command compress_command();

}  // namespace conclave::apps
