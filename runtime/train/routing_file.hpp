// SPDX-License-Identifier: BSD-3-Clause
// A routing trace as a file: a line of JSON a step, so that any program reads it, a process that is killed leaves whole
// steps, and what it holds has the same bytes for any number of ranks.
//   {"step":0,"routing_trace":1,"layers":L,"experts":E,"groups":G,"group_tokens":S,"classes":C}     the first line
//   {"step":n,"claimed":[...],"kept":[...]}       counts [L, C, E] (gating/routing_trace.hpp), steps ascending
#pragma once

#include "gating/routing_trace.hpp"
#include "runtime/train/line_file.hpp"

#include <filesystem>
#include <string>

namespace conclave::train {

/// Written by one process, the root.
class RoutingFile {
 public:
  /// Opens or creates the file. If it has a trace of these sizes, its steps after `first_step` are removed with the
  /// first flush. InputError if it has anything else, or cannot be used.
  RoutingFile(std::filesystem::path path, const gating::RoutingSizes& sizes, Index first_step);

  /// Keeps a step for the next flush. InvariantError for a step of other sizes, or not after the last one.
  void append(const gating::RoutingStep& step);
  /// Hands the steps to the operating system: all, or none and an InputError.
  void flush();
  /// The run has gone back to the end of `step`: what comes after it is forgotten, in the file too.
  void go_back(Index step);

 private:
  void find_length(Index last_step);

  std::filesystem::path path_;
  gating::RoutingSizes sizes_;
  LineFile lines_;
  Index kept_bytes_ = 0;
  bool is_cut_ = false;
  Index last_step_;
  std::string pending_;
};

/// The trace of a file. InputError, naming the file and the line, where it is none.
[[nodiscard]] gating::RoutingTrace read_routing(const std::filesystem::path& path);

}  // namespace conclave::train
