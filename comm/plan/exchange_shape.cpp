// SPDX-License-Identifier: BSD-3-Clause
#include "comm/plan/exchange_shape.hpp"

#include "runtime/core/error.hpp"

namespace conclave::plan {

ExchangeShape::ExchangeShape(RowLayout sent, RowLayout received)
    : sent_(std::move(sent)), received_(std::move(received)) {
  check();
}

void ExchangeShape::assign(const RowLayout& sent, const RowLayout& received) {
  sent_ = sent;
  received_ = received;
  check();
}

void ExchangeShape::check() const {
  invariant(sent_.num_peers() == received_.num_peers(), "an exchange that sends to {} ranks and receives from {}",
            sent_.num_peers(), received_.num_peers());
}

}  // namespace conclave::plan
