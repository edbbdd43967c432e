// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/node_table.hpp"

#include "runtime/core/error.hpp"

namespace conclave::comm {

static_assert(sizeof(Range) == 2 * sizeof(Index), "a run stands in a table as its begin and its end");

void write_node_table(std::span<const Index> numbers, const plan::RowLayout& received, std::span<const RankId> mates,
                      std::vector<Index>& table) {
  table.assign(numbers.begin(), numbers.end());
  Index begin = std::ssize(numbers) + std::ssize(mates) + 1;
  table.push_back(begin);
  for (const RankId mate : mates) table.push_back(begin += 2 * std::ssize(received.runs(mate)));
  for (const RankId mate : mates) {
    for (const Range& run : received.runs(mate)) table.insert(table.end(), {run.begin, run.end});
  }
}

std::span<const Range> runs_in_node_table(std::span<const Index> table, std::size_t num_numbers, Index num_mates,
                                          Index mate) {
  invariant(0 <= mate && mate < num_mates && table.size() > num_numbers + static_cast<std::size_t>(num_mates),
            "mate {} of {} in a table of {} numbers", mate, num_mates, table.size());
  const auto begin = static_cast<std::size_t>(table[num_numbers + static_cast<std::size_t>(mate)]);
  const auto end = static_cast<std::size_t>(table[num_numbers + static_cast<std::size_t>(mate) + 1]);
  return {reinterpret_cast<const Range*>(table.data() + begin), (end - begin) / 2};
}

}  // namespace conclave::comm
