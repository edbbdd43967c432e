// SPDX-License-Identifier: BSD-3-Clause
// A machine for the simulator from what a run measures of itself: where nothing was calibrated.
#pragma once

#include "runtime/sim/training_price.hpp"

namespace conclave::apps {

/// `messages` with the rates at which each phase of this case takes what was measured, a mean over ranks: in what
/// proportions calls, products and bytes share a phase's time is a core's usual ones. What messages that are under way
/// cost the phases is in their times, and not told apart. training.machine is not looked at. phases_s: [s] of a step.
[[nodiscard]] sim::Machine machine_of_phases(const sim::TrainingCase& training,
                                             const std::array<double, num_phases>& phases_s, sim::Machine messages);

/// A core's usual rates, and no messages: what machine_of_phases scales.
[[nodiscard]] sim::Machine usual_machine(Index active_ranks, Index threads);

/// What was measured between ranks as a cluster: ranks of a node, and of nodes that a crossbar connects, each NIC as
/// fast as one message at a time. InputError where the machine lacks messages that there would be.
[[nodiscard]] sim::Cluster cluster_of_messages(const sim::Machine& machine, Index nodes, Index ranks_per_node);

}  // namespace conclave::apps
