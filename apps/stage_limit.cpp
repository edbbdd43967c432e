// SPDX-License-Identifier: BSD-3-Clause
#include "apps/stage_limit.hpp"

#include "apps/command.hpp"
#include "apps/command_line.hpp"
#include "apps/failure.hpp"
#include "apps/launch.hpp"
#include "runtime/core/parse_number.hpp"
#include "runtime/train/watch_options.hpp"

namespace conclave::apps {
namespace {

// "conclave: rank 3 of 8 of job 17"
std::string who() {
  std::string text = fmt::format("conclave: rank {}", launched_rank());
  for (const char* size : {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    const auto ranks = environment_number(size);
    if (!ranks) continue;
    text += fmt::format(" of {}", *ranks);
    break;
  }
  for (const char* job : {"SLURM_JOB_ID", "PMIX_NAMESPACE"}) {
    const auto name = environment_variable(job);
    if (!name) continue;
    text += fmt::format(" of job {}", *name);
    break;
  }
  return text;
}

double hang_timeout_s(std::span<const std::string> words) {
  const double otherwise_s = train::WatchOptions().hang_timeout;
  try {
    const CalledCommand called = called_command(words);
    const auto call = called.command.call();
    OptionSections options;
    call->describe(options);
    static_cast<void>(parse_command_line(called.words, true, options));
    const Option* timeout = options.find("hang_timeout");
    if (timeout == nullptr) return otherwise_s;
    return parse_number<double>(timeout->text()).value_or(otherwise_s);
  } catch (const InputError&) {
  }
  return otherwise_s;
}

}  // namespace

StageWatch::Settings stage_limit(std::span<const std::string> words) { return {hang_timeout_s(words), who(), hung}; }

}  // namespace conclave::apps
