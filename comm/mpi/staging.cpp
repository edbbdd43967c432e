// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/staging.hpp"

#include "runtime/core/parallel.hpp"

#include <cstring>

namespace conclave::comm {

void Staging::lay_out(const plan::ExchangeShape& shape, FunctionRef<bool(RankId peer)> by_message) {
  sent_.clear();
  received_.clear();
  copies_.clear();
  rows_to_send_ = 0;
  rows_to_hold_ = shape.total_received();
  const auto take = [](Index& next, Index rows) {
    next += rows;
    return Range{next - rows, next};
  };
  for (RankId peer; peer < RankId{shape.num_ranks()}; ++peer) {
    const bool travels = by_message(peer);
    sent_.push_back(take(rows_to_send_, travels ? shape.rows_to(peer) : 0));
    const std::span<const Range> runs = shape.received().runs(peer);
    if (!travels || runs.empty()) {
      received_.push_back({});
    } else if (runs.size() == 1) {
      received_.push_back(runs.front());
    } else {
      received_.push_back(take(rows_to_hold_, shape.rows_from(peer)));
      plan::for_each_stretch(std::span(&received_.back(), 1), runs,
                             [&](const plan::Stretch& stretch) { copies_.push_back(stretch); });
    }
  }
}

void Staging::put_in_place(std::byte* inbox, Index row_bytes) const {
  if (row_bytes == 0) return;
  parallel_for(std::ssize(copies_), [&](Index i) {
    const plan::Stretch& copy = copies_[static_cast<std::size_t>(i)];
    std::memcpy(inbox + copy.to * row_bytes, inbox + copy.from * row_bytes,
                static_cast<std::size_t>(copy.rows * row_bytes));
  });
}

}  // namespace conclave::comm
