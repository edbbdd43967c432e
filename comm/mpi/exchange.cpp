// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/exchange.hpp"

#include "comm/mpi/auto_exchange.hpp"
#include "comm/mpi/bruck_exchange.hpp"
#include "comm/mpi/flat_exchange.hpp"
#include "comm/mpi/hierarchical_exchange.hpp"
#include "comm/mpi/pairwise_exchange.hpp"
#include "comm/mpi/shared_exchange.hpp"
#include "runtime/core/options.hpp"

namespace conclave::comm {

const std::vector<ExchangeStrategy>& exchange_strategies() {
  static const std::vector<ExchangeStrategy> strategies{
      {"auto", "measures the others in an inbox's first uses and keeps the fastest", make_auto_exchange},
      {"flat", "every rank sends to every peer directly, by MPI_Ialltoallv", make_flat_exchange},
      {"pairwise", "the same in rounds of one peer each, few at once", make_pairwise_exchange},
      {"bruck", "log2(ranks) messages a rank, for small ones", make_bruck_exchange},
      {"shared", "ranks of a node write rows into each other's memory, others send", make_shared_exchange},
      {"hierarchical", "as shared, and one message from node to node, with each row once", make_hierarchical_exchange},
  };
  return strategies;
}

std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator) {
  return make_exchange(name, communicator, communicator.topology());
}

std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator,
                                        const plan::Topology& topology) {
  std::vector<std::string> names;
  for (const ExchangeStrategy& strategy : exchange_strategies()) {
    if (strategy.name == name) return strategy.make(communicator, topology);
    names.emplace_back(strategy.name);
  }
  throw InputError(fmt::format("unknown exchange '{}'{}", name, did_you_mean(nearest_names(name, names))),
                   fmt::format("the exchanges are: {}", fmt::join(names, ", ")));
}

// MPI promises tags up to 32767. Two inboxes that share one are told apart as long as ranks use them in the same order.
int Exchange::next_tag() const { return static_cast<int>(num_tags_++ % gather_tag); }

}  // namespace conclave::comm
