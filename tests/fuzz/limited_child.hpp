// SPDX-License-Identifier: BSD-3-Clause
// Work in a copy of this process that may crash, hang, or ask for all memory, without harm to this one.
#pragma once

#include <functional>
#include <string>

namespace conclave::fuzz {

struct ChildLimits {
  double memory_bytes = 1024.0 * 1024.0 * 1024.0;  // more than the process has when it starts
  double cpu_s = 10.0;    // what ends at all takes a fraction of a second, a few under sanitizers
  double wall_s = 120.0;  // others may use the machine
};

struct ChildEnding {
  enum class How { done, threw, died, endless };
  How how = How::died;  // died: by a signal; endless: at a limit of time
  std::string text;     // what `work` returned, or how the child ended instead
  std::string died_in;  // the function that a signal met it in, with its library; empty where that is not known
};

/// Forks, does `work` in the child, and waits for its end. The child has no other threads than this one; its standard
/// error goes into `scratch_file`, as does the text.
[[nodiscard]] ChildEnding in_child(const std::function<std::string()>& work, const std::string& scratch_file,
                                   const ChildLimits& limits);

}  // namespace conclave::fuzz
