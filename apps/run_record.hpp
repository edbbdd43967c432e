// SPDX-License-Identifier: BSD-3-Clause
// What computed a run: kept in its log and its checkpoints.
#pragma once

#include "apps/command.hpp"

#include <map>

namespace conclave::apps {

/// Names and values for a person and for a later run to compare, as this rank sees them. Collective.
[[nodiscard]] std::map<std::string, std::string> run_record(const Session& session);

/// The entries that the same bits depend on: what a checkpoint keeps, so that it does not show who wrote it.
[[nodiscard]] std::map<std::string, std::string> what_bits_depend_on(const std::map<std::string, std::string>& record);

/// A sentence for each such entry in which a rank differs from the root: on unlike nodes the bits depend on who
/// computes what. The same on every rank. Collective.
[[nodiscard]] std::vector<std::string> ranks_that_differ(const comm::Communicator& world,
                                                         const std::map<std::string, std::string>& record);

/// Which of the entries that the same bits depend on (binary, compiler, CPU, library of the matrix products) differ
/// between two records: "gemm: oneDNN .. before, OpenBLAS .. now". Empty: the bits are the same.
[[nodiscard]] std::vector<std::string> differences_that_change_bits(const std::map<std::string, std::string>& before,
                                                                    const std::map<std::string, std::string>& now);

}  // namespace conclave::apps
