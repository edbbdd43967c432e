// SPDX-License-Identifier: BSD-3-Clause
#include "apps/rank_counts.hpp"

#include "runtime/core/error.hpp"
#include "runtime/core/parse_number.hpp"

#include <set>

namespace conclave::apps {
namespace {

constexpr std::size_t most_counts = 1000;

[[noreturn]] void refuse(std::string_view text) {
  throw InputError(fmt::format("ranks = '{}'", text),
                   fmt::format("give whole numbers from 1 on with commas, FIRST:LAST:xFACTOR or FIRST:LAST:STEP, such "
                               "as 2:64:x2; {} at most",
                               most_counts));
}

Index count_of(std::string_view word, std::string_view text, Index least) {
  const std::optional<Index> count = parse_number<Index>(word);
  if (!count || *count < least || *count > largest_size) refuse(text);
  return *count;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

void add_range(std::string_view part, std::string_view text, std::set<Index>& counts) {
  const std::vector<std::string_view> ends = split(part, ':');
  const Index first = count_of(ends.front(), text, 1);
  counts.insert(first);
  if (ends.size() == 1) return;
  if (ends.size() != 3 || ends[2].empty()) refuse(text);
  const Index last = count_of(ends[1], text, first);
  const bool multiplies = ends[2].front() == 'x';
  const Index by = multiplies ? count_of(ends[2].substr(1), text, 2) : count_of(ends[2], text, 1);
  for (Index count = first; count <= last; count = multiplies ? count * by : count + by) {
    counts.insert(count);
    if (counts.size() > most_counts) refuse(text);
  }
}

}  // namespace

std::vector<Index> parse_rank_counts(std::string_view text) {
  std::set<Index> counts;
  for (const std::string_view part : split(text, ',')) add_range(part, text, counts);
  if (counts.size() > most_counts) refuse(text);
  return {counts.begin(), counts.end()};
}

}  // namespace conclave::apps
