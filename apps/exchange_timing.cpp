// SPDX-License-Identifier: BSD-3-Clause
#include "apps/exchange_timing.hpp"

#include "apps/run_rates.hpp"
#include "comm/mpi/exchange.hpp"
#include "comm/mpi/reproducible_reduce.hpp"
#include "comm/mpi/slice_gather.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/matrix.hpp"
#include "runtime/sim/fit.hpp"
#include "runtime/sim/gather_price.hpp"
#include "runtime/sim/row_exchange.hpp"

#include <algorithm>
#include <functional>

namespace conclave::apps {
namespace {

constexpr Index row_bytes = 1024;
constexpr std::array<Index, 2> message_bytes{32 * row_bytes, 512 * row_bytes};
constexpr Index in_a_row = 4;  // exchanges of a timing: what an idle link takes at once counts but once

// Of some timings of the slowest rank, the median over `price_s` and what 9 of 10 are within. The first is not counted:
// connections are made, pages touched.
sim::Fitted over(double price_s, const comm::Communicator& world, Index repeats,
                 const std::function<void()>& exchange) {
  std::vector<double> factors;
  for (Index i = 0; i <= repeats; ++i) {
    world.barrier();
    const Clock::time_point start = Clock::now();
    for (Index k = 0; k < in_a_row; ++k) exchange();
    const double seconds = world.max(seconds_since(start)) / static_cast<double>(in_a_row);
    if (i > 0) factors.push_back(seconds / price_s);
  }
  return {sim::quantile(factors, 0.5), sim::quantile(factors, 0.05), sim::quantile(factors, 0.95)};
}

bool are_even(const plan::Topology& topology) {
  for (NodeId node{1}; node < NodeId{topology.num_nodes()}; ++node) {
    if (topology.ranks(node).size() != topology.ranks(NodeId{0}).size()) return false;
  }
  return true;
}

/// The exchanges, and on the root their prices.
class TimedExchanges {
 public:
  TimedExchanges(const comm::Communicator& world, const sim::Machine& machine, Index repeats)
      : world_(world), machine_(machine), repeats_(repeats) {
    const plan::Topology topology = world.topology();
    if (!world.is_root()) return;
    network_.emplace(
        cluster_of_messages(machine, topology.num_nodes(), std::ssize(topology.ranks(topology.node(world.rank())))));
  }

  std::vector<sim::ExchangeFactor> run() {
    std::vector<sim::ExchangeFactor> factors;
    for (const std::string& name : sim::priced_exchanges()) {
      if (name == "auto") continue;
      for (const Index bytes : message_bytes)
        factors.push_back({name, static_cast<double>(bytes), of_rows(name, bytes)});
    }
    for (const Index bytes : message_bytes) {
      factors.push_back({std::string(sim::exchange_of_parameters), static_cast<double>(bytes), of_parameters(bytes)});
    }
    return world_.is_root() ? factors : std::vector<sim::ExchangeFactor>{};
  }

 private:
  sim::Fitted of_rows(const std::string& name, Index bytes) {
    const auto ranks = static_cast<std::size_t>(world_.size());
    const plan::ExchangeShape shape(std::vector(ranks, bytes / row_bytes), std::vector(ranks, bytes / row_bytes));
    Matrix<float> rows(shape.total_sent(), row_bytes / static_cast<Index>(sizeof(float)));
    rows.fill(1.0F);
    const auto exchange = comm::make_exchange(name, world_);
    const auto inbox = exchange->make_inbox("calibration");
    double price_s = 1.0;
    if (network_) {
      const sim::Traffic traffic =
          sim::Traffic::uniform(world_.size(), static_cast<double>(bytes) * static_cast<double>(world_.size()));
      price_s = sim::price_rows(*network_, &machine_, name, {traffic, static_cast<double>(row_bytes)}).time_s;
    }
    return over(price_s, world_, repeats_, [&] {
      inbox->open(shape, row_bytes);
      inbox->write<float>(rows.view());
      inbox->start();
      inbox->wait();
    });
  }

  sim::Fitted of_parameters(Index bytes) {
    const Index elements = world_.size() * bytes / static_cast<Index>(sizeof(float));
    const plan::ReducePlan plan(elements, world_.size(), world_.size());
    std::vector<float> values(static_cast<std::size_t>(elements), 1.0F);
    const auto exchange = comm::make_exchange("flat", world_);
    const double price_s = network_ ? sim::price_gathering(*network_, &machine_, elements).time_s : 1.0;
    comm::SliceGather<float> slices(plan, *exchange);
    return over(price_s, world_, repeats_, [&] { slices.gather(values); });
  }

  const comm::Communicator& world_;
  const sim::Machine& machine_;
  Index repeats_;
  std::optional<sim::Network> network_;  // on the root
};

}  // namespace

std::vector<sim::ExchangeFactor> time_exchanges(const comm::Communicator& world, const sim::Machine& machine,
                                                Index repeats) {
  const plan::Topology topology = world.topology();
  if (topology.num_nodes() == 1 || !are_even(topology)) return {};
  return TimedExchanges(world, machine, repeats).run();
}

}  // namespace conclave::apps
