// SPDX-License-Identifier: BSD-3-Clause
// Another program, run for its answer: without a shell, so that no word is ever anything but a word.
#pragma once

#include <string>
#include <vector>

namespace conclave::apps {

struct ChildOutcome {
  int exit_code = -1;  // negative: it could not be started, was ended by a signal, or took too long
  std::string output;  // stdout and stderr without the blanks around them, or why there is none
};

/// Runs words[0], looked up in PATH, with the other words, and waits for its end; it is killed after `limit_s` [s].
[[nodiscard]] ChildOutcome run_child(const std::vector<std::string>& words, double limit_s);

}  // namespace conclave::apps
