// SPDX-License-Identifier: BSD-3-Clause
#include "apps/slurm_job.hpp"

#include "apps/child_process.hpp"
#include "apps/launch.hpp"
#include "runtime/core/duration.hpp"
#include "runtime/core/error.hpp"

#include <algorithm>
#include <chrono>

namespace conclave::apps {
namespace {

// A busy controller takes seconds to answer; a run must not wait for one that never does.
constexpr double answer_limit_s = 20.0;

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_job_id(std::string_view text) {
  const std::size_t bar = text.find('_');
  return is_number(text.substr(0, bar)) && (bar == std::string_view::npos || is_number(text.substr(bar + 1)));
}

ChildOutcome ask_queue(const std::string& job, const std::string& field) {
  return run_child({"squeue", "--noheader", "--job=" + job, "--format=" + field}, answer_limit_s);
}

}  // namespace

std::optional<std::string> slurm_job() {
  const std::optional<std::string> job = environment_variable("SLURM_JOB_ID");
  if (job && !is_job_id(*job)) {
    throw InputError(fmt::format("SLURM_JOB_ID = '{}' is not the id of a SLURM job", *job),
                     "it is set by SLURM: unset it outside of a job");
  }
  return job;
}

SlurmTimeLeft slurm_time_left(const std::string& job) {
  if (const auto end = environment_number("SLURM_JOB_END_TIME")) {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    return {std::max(0.0, static_cast<double>(*end) - now.count()), {}};
  }
  const ChildOutcome answer = ask_queue(job, "%L");
  if (answer.exit_code != 0) return {{}, "squeue: " + answer.output};
  if (answer.output == "UNLIMITED") return {{}, {}};
  // squeue writes a time with colons at least: a bare number is none of its answers.
  const auto left = is_number(answer.output) ? std::nullopt : parse_duration(answer.output);
  if (!left) return {{}, fmt::format("squeue says '{}'", answer.output)};
  return {left->seconds, {}};
}

std::string requeue_slurm_job(const std::string& job) {
  const ChildOutcome state = ask_queue(job, "%T");
  if (state.exit_code == 0 && state.output != "RUNNING") {
    return fmt::format("job {} is {} and is not put back into the queue", job, state.output);
  }
  const ChildOutcome answer = run_child({"scontrol", "requeue", job}, answer_limit_s);
  if (answer.exit_code == 0) return fmt::format("job {} goes back into the queue", job);
  return fmt::format("job {} could not be put back into the queue: scontrol requeue: {}", job, answer.output);
}

}  // namespace conclave::apps
