// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/train/text.hpp"

#include "runtime/core/digest.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/random.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

namespace conclave::train {
namespace {

namespace fs = std::filesystem;

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t binary_probe_bytes = 64 * 1024;

Bytes head(Bytes bytes) { return bytes.first(std::min(bytes.size(), binary_probe_bytes)); }

bool is_binary(Bytes bytes) {
  const Bytes probe = head(bytes);
  return std::find(probe.begin(), probe.end(), 0) != probe.end();
}

/// What was left out, by reason.
class Skipped {
 public:
  void add(const std::string& reason, const std::string& path) { paths_[reason].push_back(path); }

  [[nodiscard]] std::vector<std::string> notices() const {
    std::vector<std::string> result;
    for (const auto& [reason, paths] : paths_) {
      result.push_back(fmt::format("left out: {} {}: {}", paths.size(), reason, listed(paths)));
    }
    return result;
  }

 private:
  std::map<std::string, std::vector<std::string>> paths_;
};

/// What stands in a folder and its sub-folders.
struct Found {
  std::vector<std::string> files;
  std::vector<std::string> linked_folders;
  std::vector<std::string> others;
};

[[noreturn]] void fail_to_read(const std::string& path, const std::error_code& error) {
  throw InputError(fmt::format("cannot read '{}': {}", path, error.message()),
                   "make it readable on every rank, or move it out of the corpus");
}

// Links to folders are not entered, so links in a circle do no harm.
void find_below(const fs::path& folder, Found& found) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator{};
       entry.increment(error)) {
    const std::string path = entry->path().string();
    std::error_code unknown;
    const fs::file_status status = entry->status(unknown);  // of what a link leads to
    if (unknown == std::errc::permission_denied) fail_to_read(path, unknown);
    if (fs::is_directory(status)) {
      const bool linked = fs::is_symlink(entry->symlink_status(unknown));
      linked ? found.linked_folders.push_back(path) : find_below(path, found);
    } else {
      (fs::is_regular_file(status) ? found.files : found.others).push_back(path);
    }
  }
  if (error) fail_to_read(folder.string(), error);
}

// Every regular file below a folder, in the order of the paths' bytes.
std::vector<std::string> files_below(const std::string& folder, Skipped& skipped) {
  Found found;
  find_below(folder, found);
  for (auto* paths : {&found.files, &found.linked_folders, &found.others}) std::sort(paths->begin(), paths->end());
  for (const std::string& path : found.linked_folders) skipped.add("link(s) to a folder", path);
  for (const std::string& path : found.others) skipped.add("entries that are no regular file", path);
  return std::move(found.files);
}

std::vector<std::string> files_of(const std::string& path, Skipped& skipped) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw InputError(fmt::format("cannot find '{}'{}{}", path, error ? ": " : "", error ? error.message() : ""),
                     "give a text file or a folder of text files that every rank can read");
  }
  if (fs::is_directory(status)) return files_below(path, skipped);
  return {path};
}

// Sizes and samples: the beginning, which was read to tell text from binary anyhow, and blocks spread evenly over the
// rest.
void add_content(Digest& digest, Index file, Bytes bytes) {
  constexpr Index num_blocks = 16;
  constexpr Index block_bytes = 4096;
  const auto size = static_cast<Index>(bytes.size());
  digest.add("size", file, std::span<const Index>(&size, 1));
  digest.add("head", file, head(bytes));
  for (Index block = 0; block < num_blocks; ++block) {
    const Index end = size - even_share(size, num_blocks, block).begin;
    const Index begin = std::max<Index>(0, end - block_bytes);
    digest.add("block", file * num_blocks + block, bytes.subspan(begin, end - begin));
  }
}

}  // namespace

std::string listed(std::span<const std::string> paths) {
  constexpr std::size_t max_named = 16;
  const std::string names = fmt::format("{}", fmt::join(paths.first(std::min(paths.size(), max_named)), ", "));
  return paths.size() <= max_named ? names : fmt::format("{} and {} more", names, paths.size() - max_named);
}

TextFiles::TextFiles(const std::string& path) {
  Skipped skipped;
  std::set<std::pair<std::uint64_t, std::uint64_t>> taken;
  for (const std::string& name : files_of(path, skipped)) {
    MappedFile file(name);
    if (file.bytes().empty()) {
      skipped.add("empty file(s)", name);
    } else if (is_binary(file.bytes())) {
      skipped.add("binary file(s)", name);
    } else if (!taken.insert(file.identity()).second) {
      skipped.add("second name(s) of a file", name);
    } else {
      ends_.push_back((ends_.empty() ? 0 : ends_.back()) + static_cast<Index>(file.bytes().size()));
      files_.push_back(std::move(file));
    }
  }
  notices_ = skipped.notices();
  if (files_.empty()) {
    throw InputError(fmt::format("no text in '{}'{}{}", path, notices_.empty() ? "" : "; ", fmt::join(notices_, "; ")),
                     "give a text file, or a folder with at least one; a file with a NUL byte in its first 64 KiB "
                     "counts as binary");
  }
}

Index TextFiles::file_at(Index position) const {
  invariant(position >= 0 && position < num_bytes(), "byte {} of a text of {} bytes", position, num_bytes());
  return std::upper_bound(ends_.begin(), ends_.end(), position) - ends_.begin();
}

void TextFiles::read(Index position, std::span<std::int32_t> tokens) const {
  if (tokens.empty()) return;
  const auto size = static_cast<Index>(tokens.size());
  const Index file = std::upper_bound(ends_.begin(), ends_.end(), position) - ends_.begin();
  invariant(position >= 0 && file < num_files() && size <= place(file).end - position,
            "bytes [{}, {}) are not in one file of a text of {} bytes", position, position + size, num_bytes());
  const Bytes bytes = files_[file].bytes().subspan(position - place(file).begin, size);
  std::copy(bytes.begin(), bytes.end(), tokens.begin());
}

std::uint64_t TextFiles::fingerprint() const {
  Digest digest;
  for (Index file = 0; file < num_files(); ++file) add_content(digest, file, files_[file].bytes());
  return digest.value();
}

std::vector<Range> segments(const TextFiles& files, Range part) {
  std::vector<Range> result;
  for (Index file = 0; file < files.num_files(); ++file) {
    const Range segment = intersection(files.place(file), part);
    if (!segment.empty()) result.push_back(segment);
  }
  return result;
}

Windows Windows::fixed(const std::vector<Range>& segments, Index context) { return {segments, context, std::nullopt}; }

Windows Windows::shifting(const std::vector<Range>& segments, Index context, Index seed) {
  return {segments, context, seed};
}

// A segment of n inputs and one last target has room for n / context windows; where each alignment is to have as many,
// for those that fit behind a shift of context - 1.
Windows::Windows(const std::vector<Range>& segments, Index context, std::optional<Index> seed)
    : context_(context), seed_(seed) {
  invariant(context >= 1, "windows with a context of {}", context);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Index inputs = segments[i].size() - 1;
    if (inputs < context) continue;
    const Index num_windows = seed ? std::max<Index>(1, (inputs - (context - 1)) / context) : inputs / context;
    const Index slack = seed ? inputs - num_windows * context : 0;
    pieces_.push_back({segments[i].begin, static_cast<Index>(i), count() + num_windows, slack});
  }
}

Range Windows::window(Index n, Index epoch) const {
  invariant(0 <= n && n < count(), "window {} of {}", n, count());
  const auto piece =
      std::upper_bound(pieces_.begin(), pieces_.end(), n, [](Index value, const Piece& p) { return value < p.end; });
  const Index before = piece == pieces_.begin() ? 0 : std::prev(piece)->end;
  Index begin = piece->begin + (n - before) * context_;
  if (seed_) {
    // Step 1 keeps these draws apart from the permutation's, which are at step 0.
    const Random shifts(*seed_, RandomStream::data_order, epoch, 1);
    begin += static_cast<Index>(shifts.uniform(piece->segment, 0) * static_cast<double>(piece->slack + 1));
  }
  return {begin, begin + context_ + 1};
}

}  // namespace conclave::train
