// SPDX-License-Identifier: BSD-3-Clause
// A text file of whole lines that is added to: metrics.jsonl.
#pragma once

#include "runtime/core/ids.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace conclave::train {

class LineFile {
 public:
  /// Opens or creates the file; changes nothing in it. InputError if that cannot be done.
  explicit LineFile(std::filesystem::path path);
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  ~LineFile();

  /// Keeps the first `bytes` bytes.
  void cut(Index bytes);
  /// Adds whole lines: all of them, or none and an InputError.
  void append(const std::string& lines);

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

/// The length of the beginning of a file of records in JSON, one a line with ascending "step", that tells of steps up
/// to `last_step`. Left out are later records and what a process killed while writing has left at the end. A notice is
/// added for lines at the end that are whole but no records. Costs nothing for the lines that are kept.
[[nodiscard]] Index length_up_to(const std::filesystem::path& path, Index last_step, std::vector<std::string>& notices);

/// The last line of the first `length` bytes of a file, which are whole lines; empty if there is none.
[[nodiscard]] std::string last_line(const std::filesystem::path& path, Index length);

/// Whether a line is the record of training step `step`; of any line.
[[nodiscard]] bool is_step_record(const std::string& line, Index step);

}  // namespace conclave::train
