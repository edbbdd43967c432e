// SPDX-License-Identifier: BSD-3-Clause
// What the simulations of the family `simulate` share: the described machine, who is popular, and the forms in which a
// price is told. A simulation's file holds an aggregate of its options with a member `machine`, a function that
// describes them, one that prices, and one that makes the Command of them; the table in simulate.cpp names them all.
#pragma once

#include "apps/bench_report.hpp"
#include "apps/command.hpp"
#include "runtime/sim/exchange_model.hpp"
#include "runtime/sim/network.hpp"
#include "runtime/sim/popularity.hpp"

namespace conclave::apps {

struct SimulatedMachine {
  std::string cluster;
  std::string popularity = "uniform";
  bool json = false;
};

void describe(SimulatedMachine& machine, OptionSections& sections);

/// What --cluster takes, for help.
[[nodiscard]] std::string cluster_help();
/// The machine that a preset or a file describes. InputError if it is neither, or described wrongly.
[[nodiscard]] sim::Cluster cluster_of(const std::string& name);
/// The JSON text of the same. InputError if it is neither.
[[nodiscard]] std::string cluster_json(const std::string& name);

/// The network of --cluster: a preset's, or that of a file. InputError if it is neither, or described wrongly.
[[nodiscard]] sim::Network network_of(const SimulatedMachine& machine);
/// --popularity. InputError if the file cannot be read or does not fit the number of ranks.
[[nodiscard]] sim::Popularity popularity_of(const SimulatedMachine& machine, Index num_ranks);

/// What was simulated and found.
struct Prediction {
  std::string simulation{};  // "exchange"
  std::string title{};       // one line
  double time_s = 0.0;
  std::vector<sim::PhaseTime> phases{};
  std::string bottleneck{};  // empty: there is nothing to wait for
  sim::Tier tier = sim::Tier::bound;
  std::vector<std::string> notes{};  // sentences below the table
  Json facts = Json::object();       // the simulation's own keys of the JSON object
};

/// Prints it, as a table or as one JSON object.
void print(const Prediction& prediction, const SimulatedMachine& machine, const sim::Cluster& cluster);

[[nodiscard]] Command simulate_exchange();
[[nodiscard]] Command simulate_step();
[[nodiscard]] Command simulate_run();
[[nodiscard]] Command simulate_explain();
[[nodiscard]] Command simulate_optimise();
[[nodiscard]] Command simulate_replay();
[[nodiscard]] Command simulate_validate();

}  // namespace conclave::apps
