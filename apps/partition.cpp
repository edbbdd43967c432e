// SPDX-License-Identifier: BSD-3-Clause
#include "apps/partition.hpp"

#include "apps/child_process.hpp"
#include "runtime/core/duration.hpp"
#include "runtime/core/parse_number.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace conclave::apps {
namespace {

// MiB unless a letter says otherwise; nothing for what is no amount.
std::optional<double> mib_of(std::string_view text) {
  double unit = 1.0;
  constexpr std::string_view letters = "KMGT";
  const std::size_t letter = text.empty() ? std::string_view::npos : letters.find(text.back());
  if (letter != std::string_view::npos) {
    text.remove_suffix(1);
    unit = letter == 0 ? 1.0 / 1024.0 : letter == 1 ? 1.0 : letter == 2 ? 1024.0 : 1024.0 * 1024.0;
  }
  const auto amount = parse_number<Index>(text);
  if (!amount || *amount < 0) return std::nullopt;
  return static_cast<double>(*amount) * unit;
}

// One of sinfo's lines; nothing for what is none.
std::optional<Partition> read_line(const std::string& line, const std::string& name) {
  std::istringstream words(line);
  std::string called, nodes, memory, limit, more;
  if (!(words >> called >> nodes >> memory >> limit) || words >> more) return std::nullopt;
  const bool is_default = called.ends_with('*');
  if (is_default) called.pop_back();
  if (name.empty() ? !is_default : called != name) return std::nullopt;
  if (memory.ends_with('+')) memory.pop_back();  // nodes with more are among them
  const auto count = parse_number<Index>(nodes);
  const auto mib = mib_of(memory);
  const auto limit_s = limit == "infinite" ? std::optional<Duration>() : parse_duration(limit);
  if (!count || !mib || (!limit_s && limit != "infinite")) return std::nullopt;
  return Partition{called, *count, *mib, limit_s ? std::optional(limit_s->seconds) : std::nullopt};
}

}  // namespace

std::optional<Partition> find_partition(const std::string& name) {
  // A busy controller takes seconds to answer; a job can be printed without it.
  constexpr double answer_limit_s = 20.0;
  // Exact, so that kinds of nodes are not told as one with a least memory.
  const ChildOutcome answer = run_child({"sinfo", "--noheader", "--exact", "--format=%P %D %m %l"}, answer_limit_s);
  return answer.exit_code == 0 ? read_partition(answer.output, name) : std::nullopt;
}

std::optional<Partition> read_partition(std::string_view answer, const std::string& name) {
  std::optional<Partition> all;
  std::istringstream lines{std::string(answer)};
  for (std::string line; std::getline(lines, line);) {
    const std::optional<Partition> some = read_line(line, name);
    if (!some) continue;
    if (!all) {
      all = some;
      continue;
    }
    all->nodes += some->nodes;
    all->node_mib = std::max(all->node_mib, some->node_mib);
  }
  return all;
}

std::vector<std::string> beyond(const Partition& partition, const JobNeed& need) {
  std::vector<std::string> sentences;
  if (need.nodes > partition.nodes) {
    sentences.push_back(
        fmt::format("asks for {} nodes, partition {} has {}", need.nodes, partition.name, partition.nodes));
  }
  const auto mib = mib_of(need.mem);
  if (mib && *mib > partition.node_mib) {
    sentences.push_back(fmt::format("asks for {} of memory a node, the largest of partition {} has {:.0f}M", need.mem,
                                    partition.name, partition.node_mib));
  }
  const auto time = parse_duration(need.time);
  if (time && partition.limit_s && time->seconds > *partition.limit_s) {
    sentences.push_back(fmt::format("asks for a time of {}, partition {} gives {} at most", need.time, partition.name,
                                    text_of(Duration{*partition.limit_s})));
  }
  return sentences;
}

}  // namespace conclave::apps
