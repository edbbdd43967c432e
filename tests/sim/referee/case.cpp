// SPDX-License-Identifier: BSD-3-Clause
#include "tests/sim/referee/case.hpp"

#include "runtime/core/random.hpp"
#include "runtime/sim/fluid.hpp"
#include "runtime/sim/json_object.hpp"
#include "runtime/sim/popularity.hpp"

#include <cmath>

namespace conclave::sim {
namespace {

Traffic in_whole_bytes(const Traffic& traffic) {
  Traffic whole(traffic.num_ranks());
  traffic.for_each([&](const Pair& pair) { whole.add(Pair{pair.from, pair.to, std::round(pair.bytes)}); });
  return whole;
}

Popularity popularity_of(const std::string& name, Index num_ranks) {
  if (name == "uniform") return Popularity::uniform(num_ranks);
  if (name != "one" && name != "zipf") throw InputError(fmt::format("a popularity '{}'", name), "see case.hpp");
  std::string weights;
  for (Index d = 0; d < num_ranks; ++d) {
    const double one = d == 0 ? 1.0 : 0.0;
    weights += fmt::format("{} ", name == "zipf" ? 1.0 / static_cast<double>(d + 1) : one);
  }
  return Popularity::read(weights, num_ranks, name);
}

// Numbers that every machine draws alike: products, and no function of libm.
Traffic drawn(const Json& object, Index num_ranks) {
  const auto seed = object.at("seed").get<Index>();
  const auto skew = object.at("skew").get<Index>();
  const auto mean_bytes = object.at("mean_bytes").get<double>();
  const auto density = object.at("density").get<double>();
  const Random sizes(seed, RandomStream::initial, 0);
  const Random presence(seed, RandomStream::initial, 1);
  const Random destinations(seed, RandomStream::initial, 2);
  Traffic traffic(num_ranks);
  for (Index d = 0; d < num_ranks; ++d) {
    auto popularity = static_cast<double>(skew + 1);
    for (Index k = 0; k < skew; ++k) popularity *= destinations.uniform(d, 0);
    for (Index s = 0; s < num_ranks; ++s) {
      if (s == d || presence.uniform(s, d) >= density) continue;
      traffic.add(Pair{static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(d),
                       2.0 * sizes.uniform(s, d) * mean_bytes * popularity});
    }
  }
  return traffic;
}

Traffic traffic_of(const Json& object, Index num_ranks) {
  if (object.contains("seed")) return in_whole_bytes(drawn(object, num_ranks));
  if (object.contains("popularity")) {
    const Popularity popularity = popularity_of(object["popularity"].get<std::string>(), num_ranks);
    return in_whole_bytes(popularity.traffic(object.at("bytes_per_rank").get<double>()));
  }
  Traffic traffic(num_ranks);
  for (const Json& pair : object.at("pairs")) {
    traffic.add(Pair{pair.at(0).get<std::uint32_t>(), pair.at(1).get<std::uint32_t>(), pair.at(2).get<double>()});
  }
  return traffic;
}

Strategy strategy_of(const Json& object) {
  ExchangeOptions options;
  OptionTable table;
  describe(options, table);
  if (object.contains("strategy")) table.assign("strategy", text_of("strategy", object["strategy"]));
  return options.strategy;
}

RefereeCase case_of(const Json& object, const Json& clusters) {
  const auto name = object.at("name").get<std::string>();
  Cluster cluster = read_cluster(clusters.at(object.at("cluster").get<std::string>()).dump(), name);
  Traffic traffic = traffic_of(object.at("traffic"), cluster.num_ranks());
  return {name, std::move(cluster), std::move(traffic), strategy_of(object), object.at("time_s").get<double>()};
}

}  // namespace

std::vector<RefereeCase> referee_cases(std::string_view table) {
  const Json object = parse_json(table);
  std::vector<RefereeCase> cases;
  try {
    for (const Json& each : object.at("cases")) cases.push_back(case_of(each, object.at("clusters")));
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("case {} of the table: {}", cases.size(), error.what()), "see case.hpp");
  }
  return cases;
}

double simulated_s(const RefereeCase& exchange) {
  const Network network(exchange.cluster);
  if (exchange.strategy == Strategy::flat) {
    return fluid_of(network, exchange.traffic, std::numeric_limits<double>::infinity()).time_s;
  }
  return price_exchange(network, exchange.traffic, {exchange.strategy, Tier::rounds}).time_s;
}

}  // namespace conclave::sim
