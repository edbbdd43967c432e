// SPDX-License-Identifier: BSD-3-Clause
// A simulated step as a trace: `simulate run --trace`.
#pragma once

#include "apps/command.hpp"
#include "apps/training_simulation.hpp"

namespace conclave::apps {

struct SimulatedTrace {
  std::string trace;       // the file; empty: none
  Index trace_ranks = 16;  // whose rows it has
};

void describe(SimulatedTrace& o, OptionTable& table);
/// InputError for a negative number of ranks and for too many, a file that cannot be written, and where the command
/// line says how a trace is to be that nobody asked for. Collective.
void validate(const SimulatedTrace& o, const Session& session);

/// Writes the step of a price: the critical path, the mean over ranks, what is on its way between ranks, and the rows
/// of the first ranks and of the one that sets the experts' pace. InputError where the file cannot be written.
/// Collective.
void write_trace(const SimulatedTrace& o, const SettledTraining& s, const SimulatedPoint& point,
                 const comm::Communicator& world);

}  // namespace conclave::apps
