// SPDX-License-Identifier: BSD-3-Clause
// Moving rows between ranks. An exchange knows rows and peers, no tokens and no experts; every strategy puts the same
// bytes in the same places.
#pragma once

#include "comm/mpi/communicator.hpp"
#include "comm/mpi/inbox.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::comm {

/// One way of carrying out an all-to-all of rows.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// A place for rows to arrive in; the exchange must outlive it. Collective.
  [[nodiscard]] virtual std::unique_ptr<Inbox> make_inbox() const = 0;
};

/// A member of the family: its name on the command line, one line of help, and how to make it.
struct ExchangeStrategy {
  std::string_view name;
  std::string_view help;
  std::unique_ptr<Exchange> (*make)(const Communicator& communicator);
};

/// All strategies; the first is the default.
[[nodiscard]] const std::vector<ExchangeStrategy>& exchange_strategies();

/// The strategy of that name. InputError naming the valid ones for any other name. Collective: strategies may set up
/// communicators of their own. `communicator` must outlive the exchange.
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator);

}  // namespace conclave::comm
