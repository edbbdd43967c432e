// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/exchange_shape.hpp"

#include "runtime/core/error.hpp"

#include <utility>

namespace conclave::plan {
namespace {

// counts [n] -> where each part begins, and the total [n + 1].
std::vector<Index> offsets_of(const std::vector<Index>& counts) {
  std::vector<Index> offsets{0};
  offsets.reserve(counts.size() + 1);
  for (const Index count : counts) {
    invariant(count >= 0, "an exchange of {} rows with peer {}", count, offsets.size() - 1);
    offsets.push_back(offsets.back() + count);
  }
  return offsets;
}

}  // namespace

ExchangeShape::ExchangeShape(std::vector<Index> send_rows, std::vector<Index> receive_rows)
    : send_rows_(std::move(send_rows)),
      receive_rows_(std::move(receive_rows)),
      send_offsets_(offsets_of(send_rows_)),
      receive_offsets_(offsets_of(receive_rows_)) {
  invariant(send_rows_.size() == receive_rows_.size(), "an exchange that sends to {} ranks and receives from {}",
            send_rows_.size(), receive_rows_.size());
}

}  // namespace conclave::plan
