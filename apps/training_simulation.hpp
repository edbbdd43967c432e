// SPDX-License-Identifier: BSD-3-Clause
// What the simulations of a whole training share: its options, what they say once they are settled, and its price on a
// number of ranks.
#pragma once

#include "apps/routing_source.hpp"
#include "apps/simulate.hpp"
#include "apps/train_case.hpp"
#include "runtime/sim/training_price.hpp"

#include <optional>

namespace conclave::apps {

struct TrainingSimulation {
  std::string cluster;
  std::string machine;
  RoutingSource routing;
  bool bound = false;
  bool json = false;
  TrainCase training;
};

/// The simulation's own options; those of the training are described beside them.
void describe(TrainingSimulation& o, OptionTable& table);

/// A training on a described cluster, before it is on a number of ranks.
struct SettledTraining {
  train::TrainOptions training;
  model::DataShape shape;
  sim::Cluster cluster;
  std::optional<sim::Machine> machine;
  RoutingSource routing;
  std::shared_ptr<const gating::RoutingTrace> recorded;  // that routing names, once it has been asked for
  sim::Workload workload;
  std::vector<sim::ExpertLoads> loads;
  bool bound = false;
};

/// Fills in the loads that follow from the rest, where there are MoE blocks. InputError as recorded_routing and
/// expert_loads.
void settle_loads(SettledTraining& s);

/// Reads the files and settles the training's options. InputError for what is wrong with them. Collective.
[[nodiscard]] SettledTraining settled(TrainingSimulation simulation, const Session& session);

/// The run on one number of ranks.
struct SimulatedPoint {
  Index ranks = 0;
  Index nodes = 0;
  sim::TrainingPrice price{};
  double memory_bytes = 0.0;  // of the fullest rank that was looked at
  bool fits = true;
  double core_hours = 0.0;  // of 1,000 steps and their checkpoints
};

/// A training on so many ranks, as the simulator is asked about it.
struct PlacedTraining {
  sim::Network network;
  sim::Workload workload;  // with the waves that the runtime would cut
  plan::RowTransport transport;
  std::optional<experts::Placement> moved{};  // of placement = auto: where the loads are balanced, all layers alike
};
/// InputError where the ranks do not fill the cluster evenly, and for an exchange that the runtime does not know.
/// Collective.
[[nodiscard]] PlacedTraining placed(const SettledTraining& s, Index ranks, const comm::Communicator& world);

/// So many waves the runtime would cut on these ranks.
[[nodiscard]] Index waves_of(const sim::Workload& workload, const plan::RowTransport& transport);

/// The case of a placed training; it refers to all three. placement: null for where the training has its experts.
[[nodiscard]] sim::TrainingCase case_of(const SettledTraining& s, const PlacedTraining& placed,
                                        const experts::Placement* placement);

/// Its price. placement: null for where the training has its experts. Errors as `placed` and the price's own.
/// Collective.
[[nodiscard]] SimulatedPoint simulated_on(const SettledTraining& s, Index ranks, const comm::Communicator& world,
                                          const experts::Placement* placement = nullptr);

/// What limits the step, and that a node's memory does where it does. For tables.
[[nodiscard]] std::string limit_text(const SimulatedPoint& point);
/// "+- 4.1 %", or nothing where nothing is known of it.
[[nodiscard]] std::string interval_text(const sim::TrainingPrice& price);
/// What stands below every table: how the rates are known.
[[nodiscard]] std::string calibration_text(const SettledTraining& s);
/// "calibrated", and "measured_on" where it is.
void add_calibration(const SettledTraining& s, Json& object);

}  // namespace conclave::apps
