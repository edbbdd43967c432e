// SPDX-License-Identifier: BSD-3-Clause
// What a run asks of SLURM: when its job ends, and another start. To be called by one rank alone.
#pragma once

#include <optional>
#include <string>

namespace conclave::apps {

/// The SLURM job that this process is part of; nothing outside of one. InputError if SLURM_JOB_ID is not a job's id
/// (digits, or digits_digits for a task of an array).
[[nodiscard]] std::optional<std::string> slurm_job();

/// Seconds until a job ends, or why they are not known.
struct SlurmTimeLeft {
  std::optional<double> seconds;
  std::string why_unknown;  // empty also where the job has no limit
};
/// From SLURM_JOB_END_TIME where SLURM sets it, else from squeue.
[[nodiscard]] SlurmTimeLeft slurm_time_left(const std::string& job);

/// Has SLURM put a job back into the queue unless it is already ending, which means that somebody cancelled it or that
/// SLURM itself has put it back. SLURM ends the job's processes thereby. Returns a sentence that says what came of it.
[[nodiscard]] std::string requeue_slurm_job(const std::string& job);

}  // namespace conclave::apps
