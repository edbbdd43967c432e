// SPDX-License-Identifier: BSD-3-Clause
// Moving rows between ranks. An exchange knows rows and peers, no tokens and no experts; every strategy puts the same
// bytes in the same places.
#pragma once

#include "comm/mpi/inbox.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::comm {

/// How one inbox's rows travel, and if that was measured, what each strategy took.
struct ExchangeChoice {
  struct Candidate {
    std::string strategy;
    double seconds = 0.0;  // the slowest rank's least, in a use, but for the writing of rows
  };
  std::string inbox;
  std::string strategy;
  std::vector<Candidate> measured;
};

/// One way of carrying out an all-to-all of rows.
class Exchange {
 public:
  /// Between the ranks of `communicator`, by a duplicate of it, so that no messages are mixed up with others. topology:
  /// which of them share memory. Collective.
  Exchange(const Communicator& communicator, plan::Topology topology)
      : communicator_(communicator.duplicate()), topology_(std::move(topology)) {}
  virtual ~Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// A place for rows to arrive in; the exchange must outlive it. `name` is for choices(). Collective.
  [[nodiscard]] virtual std::unique_ptr<Inbox> make_inbox(const std::string& name) const = 0;
  /// Whether rows that are copies of one another cross the network once for all of a node's ranks. Then an inbox saves
  /// the more the more rows it gets at once.
  [[nodiscard]] virtual bool merges_copies() const { return false; }
  /// What was decided so far, in the order of the decisions; nothing where the strategy is given. The same on all
  /// ranks. Valid until the next use of an inbox.
  [[nodiscard]] virtual std::span<const ExchangeChoice> choices() const { return {}; }

  [[nodiscard]] const Communicator& communicator() const { return communicator_; }
  [[nodiscard]] const plan::Topology& topology() const { return topology_; }
  /// Tells slices that are gathered from the messages of inboxes.
  static constexpr int gather_tag = 32767;

 protected:
  /// Tells the messages of an inbox from those of others.
  [[nodiscard]] int next_tag() const;

 private:
  Communicator communicator_;
  plan::Topology topology_;
  mutable Index num_tags_ = 0;
};

/// A member of the family: its name on the command line, one line of help, and how to make it.
struct ExchangeStrategy {
  std::string_view name;
  std::string_view help;
  std::unique_ptr<Exchange> (*make)(const Communicator& communicator, const plan::Topology& topology);
};

/// All strategies; the first is the default.
[[nodiscard]] const std::vector<ExchangeStrategy>& exchange_strategies();

/// The strategy of that name. InputError naming the valid ones for any other name. Collective. `topology` may separate
/// ranks that share a node, not join others.
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator);
[[nodiscard]] std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator,
                                                      const plan::Topology& topology);

}  // namespace conclave::comm
