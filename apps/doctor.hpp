// SPDX-License-Identifier: BSD-3-Clause
// What `conclave doctor` looks at. Every examination is collective and finds the same on every rank.
#pragma once

#include "apps/command.hpp"

namespace conclave::apps {

enum class Verdict { ok, warn, fail };

inline constexpr std::array<EnumName<Verdict>, 3> enum_names(Verdict) {
  return {{{Verdict::ok, "ok"}, {Verdict::warn, "warn"}, {Verdict::fail, "FAIL"}}};
}

/// One line of the report.
struct Finding {
  Verdict verdict;
  std::string subject;  // a word or two
  std::string text;     // what was found
  std::string remedy;   // what to do about it; empty if all is well
};

/// The machine: CPU, BLAS and its products, threads and CPUs, memory that ranks share, disk.
[[nodiscard]] std::vector<Finding> examine_machine(const Session& session);
/// The job: MPI, its transport and its files, HDF5, SLURM, and whether all ranks are alike.
[[nodiscard]] std::vector<Finding> examine_job(const Session& session);

}  // namespace conclave::apps
