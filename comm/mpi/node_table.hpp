// SPDX-License-Identifier: BSD-3-Clause
// What a rank tells its mates about a use of an inbox: some numbers, and where their rows are to stand.
#pragma once

#include "comm/plan/exchange_shape.hpp"

namespace conclave::comm {

/// numbers, where each mate's runs begin [mates + 1], the runs of all mates. `table` is overwritten.
void write_node_table(std::span<const Index> numbers, const plan::RowLayout& received, std::span<const RankId> mates,
                      std::vector<Index>& table);

/// The runs for the rows of one mate in such a table.
[[nodiscard]] std::span<const Range> runs_in_node_table(std::span<const Index> table, std::size_t num_numbers,
                                                        Index num_mates, Index mate);

}  // namespace conclave::comm
