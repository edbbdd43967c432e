// SPDX-License-Identifier: BSD-3-Clause
// What computed a run: kept in its log and its checkpoints.
#pragma once

#include "apps/command.hpp"

#include <map>

namespace conclave::apps {

/// Names and values for a person and for a later run to compare. The same on every rank. Collective.
[[nodiscard]] std::map<std::string, std::string> run_record(const Session& session);

/// Which of the entries that the same bits depend on (binary, compiler, CPU, BLAS library and kernels) differ between
/// two records: "blas_kernel: SkylakeX before, Haswell now". Empty: the bits are the same.
[[nodiscard]] std::vector<std::string> differences_that_change_bits(const std::map<std::string, std::string>& before,
                                                                    const std::map<std::string, std::string>& now);

}  // namespace conclave::apps
