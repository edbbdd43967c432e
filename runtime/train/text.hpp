// SPDX-License-Identifier: BSD-3-Clause
// Real text: the files of a corpus as one run of bytes, and the windows that training and validation cut from it.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/train/mapped_file.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace conclave::train {

/// The paths with commas; of many, the first few and the number of the others.
[[nodiscard]] std::string listed(std::span<const std::string> paths);

/// A text file, or all text files of a folder, as one run of bytes: the files one after the other in the order of their
/// paths. Bytes are tokens. Immutable, safe to read from many threads.
///
/// A folder is read with its sub-folders. Left out, each named in a notice: empty files; binary files, which is every
/// file with a NUL byte in its first 64 KiB (so UTF-16 text is binary, and any other encoding is text); links to
/// folders; second names of a file already taken, so that held-out text cannot come back as training text; links that
/// lead nowhere, pipes, sockets and devices.
class TextFiles {
 public:
  /// InputError if the path does not exist, a file or folder in it cannot be read, or no text is found.
  explicit TextFiles(const std::string& path);

  [[nodiscard]] Index num_files() const { return static_cast<Index>(files_.size()); }
  [[nodiscard]] Index num_bytes() const { return ends_.back(); }
  [[nodiscard]] const std::string& path(Index file) const { return files_[file].path(); }
  /// Where a file's bytes stand in the run. Never empty.
  [[nodiscard]] Range place(Index file) const { return {file == 0 ? 0 : ends_[file - 1], ends_[file]}; }
  /// The file that the byte at `position` of the run is in.
  [[nodiscard]] Index file_at(Index position) const;
  /// The bytes from `position` of the run on, which must be in one file.
  void read(Index position, std::span<std::int32_t> tokens) const;

  /// What was left out and why, a sentence each.
  [[nodiscard]] const std::vector<std::string>& notices() const { return notices_; }
  /// A hash of the files' order, sizes and sampled content; not of their paths.
  [[nodiscard]] std::uint64_t fingerprint() const;

 private:
  std::vector<MappedFile> files_;
  std::vector<Index> ends_;  // [num_files]: where each file ends in the run
  std::vector<std::string> notices_;
};

/// The parts of `files` that lie in `part` of the run, a segment for each file with bytes there.
[[nodiscard]] std::vector<Range> segments(const TextFiles& files, Range part);

/// Windows of context + 1 bytes: `context` inputs, each with the byte after it as target. A window stays in one
/// segment; neighbours share one byte, the last target of the one and first input of the other. A segment of context
/// bytes or fewer has none.
class Windows {
 public:
  /// Windows that always begin at the segment's first byte; as many as fit.
  [[nodiscard]] static Windows fixed(const std::vector<Range>& segments, Index context);
  /// Windows that begin some bytes into the segment, a shift drawn evenly for (seed, epoch, segment) from as far as
  /// there is room, so that over the epochs every byte and every alignment is seen. Their number is the
  /// same in every epoch: what fits behind context - 1 bytes, or one in a segment too short for that.
  [[nodiscard]] static Windows shifting(const std::vector<Range>& segments, Index context, Index seed);

  [[nodiscard]] Index count() const { return pieces_.empty() ? 0 : pieces_.back().end; }
  /// The bytes of window n of an epoch, 0 <= n < count(). [context + 1]
  [[nodiscard]] Range window(Index n, Index epoch = 0) const;

 private:
  /// A segment's windows.
  struct Piece {
    Index begin;    // its first byte
    Index segment;  // its number
    Index end;      // the number of windows in it and all before it
    Index slack;    // the largest shift
  };
  Windows(const std::vector<Range>& segments, Index context, std::optional<Index> seed);

  Index context_;
  std::optional<Index> seed_;  // none: fixed
  std::vector<Piece> pieces_;  // segments with at least one window
};

}  // namespace conclave::train
