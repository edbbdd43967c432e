// SPDX-License-Identifier: BSD-3-Clause
#include "comm/mpi/exchange.hpp"

#include "comm/mpi/flat_exchange.hpp"
#include "runtime/core/options.hpp"

namespace conclave::comm {

const std::vector<ExchangeStrategy>& exchange_strategies() {
  static const std::vector<ExchangeStrategy> strategies{
      {"flat", "every rank sends to every peer directly", make_flat_exchange},
  };
  return strategies;
}

std::unique_ptr<Exchange> make_exchange(std::string_view name, const Communicator& communicator) {
  std::vector<std::string> names;
  for (const ExchangeStrategy& strategy : exchange_strategies()) {
    if (strategy.name == name) return strategy.make(communicator);
    names.emplace_back(strategy.name);
  }
  throw InputError(fmt::format("unknown exchange '{}'{}", name, did_you_mean(nearest_names(name, names))),
                   fmt::format("the exchanges are: {}", fmt::join(names, ", ")));
}

}  // namespace conclave::comm
