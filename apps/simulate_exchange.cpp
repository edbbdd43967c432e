// SPDX-License-Identifier: BSD-3-Clause
// The simulation `exchange`: all ranks send rows to one another, once.
#include "apps/simulate.hpp"
#include "runtime/train/agreed.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

struct ExchangeSimulation {
  SimulatedMachine machine;
  double bytes_per_rank = 16e6;
  sim::ExchangeOptions exchange;
};

void describe_exchange(ExchangeSimulation& o, OptionSections& sections) {
  describe(o.machine, sections);
  OptionTable& table = sections.section("Exchange");
  table.add("bytes_per_rank", o.bytes_per_rank, "bytes that a rank has for all ranks, of which it keeps its own share");
  sim::describe(o.exchange, table);
}

// How far the shared links' time is from what no sharing could be faster than.
void add_bound(const sim::ExchangePrice& price, Prediction& prediction) {
  if (!price.bound_s) return;
  const double above = *price.bound_s > 0.0 ? std::max(0.0, price.time_s / *price.bound_s - 1.0) : 0.0;
  prediction.facts["bound_s"] = *price.bound_s;
  prediction.facts["above_bound"] = above;
  prediction.facts["merged_within_s"] = price.window_s;
  prediction.notes.push_back(fmt::format("{:.2f} % above the bound by the busiest resource alone, {}", 100.0 * above,
                                         seconds_text(*price.bound_s)));
  if (price.window_s > 0.0) {
    prediction.notes.push_back(fmt::format("messages that end within {} of one another were taken to end together",
                                           seconds_text(price.window_s)));
  }
}

int run_exchange(const ExchangeSimulation& o, const Session& session) {
  train::on_root(session.world, [&] {
    sim::expect_amount("bytes_per_rank", o.bytes_per_rank);
    const sim::Network network = network_of(o.machine);
    const sim::Traffic traffic = popularity_of(o.machine, network.num_ranks()).traffic(o.bytes_per_rank);
    const sim::ExchangePrice price = sim::price_exchange(network, traffic, o.exchange);
    Prediction prediction{
        "exchange",
        fmt::format("Exchange {} of {:.4g} bytes a rank", name_of(o.exchange.strategy), o.bytes_per_rank),
        price.time_s,
        price.phases,
        price.bottleneck,
        price.tier};
    prediction.facts["strategy"] = name_of(o.exchange.strategy);
    prediction.facts["bytes_sent"] = traffic.total_bytes();
    add_bound(price, prediction);
    print(prediction, o.machine, network.cluster());
  });
  return 0;
}

}  // namespace

Command simulate_exchange() {
  return make_command<ExchangeSimulation>("exchange", "one exchange of rows between all ranks", "", describe_exchange,
                                          run_exchange);
}

}  // namespace conclave::apps
