// SPDX-License-Identifier: BSD-3-Clause
#include "apps/stopping.hpp"

#include "apps/progress.hpp"
#include "apps/slurm_job.hpp"
#include "apps/stop_signal.hpp"
#include "runtime/train/agreed.hpp"

namespace conclave::apps {
namespace {

// Slower than any file system that checkpoints should be written to, rather than too fast.
constexpr double first_save_bytes_per_s = 50e6;
constexpr double least_first_save_s = 1.0;

constexpr Index time_is_up = -1;  // no signal's number

}  // namespace

StopRule::StopRule(double margin_s, double checkpoint_bytes, double evaluation_steps)
    : margin_s_(margin_s),
      first_save_s_(least_first_save_s + checkpoint_bytes / first_save_bytes_per_s),
      evaluation_steps_(evaluation_steps) {}

double StopRule::needed_s(const WorkAhead& ahead) const {
  const double save_s = save_s_.value_or(first_save_s_);
  double needed_s = step_s_ + save_s + margin_s_;
  if (ahead.saves) needed_s += save_s;
  if (ahead.evaluates) needed_s += evaluation_s_.value_or(evaluation_steps_ * step_s_);
  return needed_s;
}

Stopping::Stopping(const train::TrainOptions& options, const comm::Communicator& world) : requeue_(options.requeue) {
  keep_stop_signals();
  train::on_root(world, [&] {
    job_ = slurm_job().value_or("");
    if (requeue_ && job_.empty()) {
      throw InputError("requeue = yes outside of a SLURM job", "leave it out, or start the run by sbatch");
    }
    find_end(options.time_limit);
  });
}

void Stopping::find_end(const std::optional<Duration>& limit) {
  if (limit) {
    if (limit->seconds > 0.0) end_s_ = limit->seconds;
    return;
  }
  if (job_.empty()) return;
  const SlurmTimeLeft left = slurm_time_left(job_);
  end_s_ = left.seconds;
  if (end_s_) notice_ = fmt::format("SLURM job {}: {} left", job_, time_text(*end_s_));
  if (!left.why_unknown.empty()) {
    notice_ = fmt::format(
        "SLURM job {}: its end is unknown ({}), so the run will not stop in time by itself: give --time-limit", job_,
        left.why_unknown);
  }
}

Index Stopping::request(double needed_s) const {
  if (const int signal = stop_signal(); signal != 0) return signal;
  if (!end_s_) return 0;
  return *end_s_ - seconds_since(start_) < needed_s ? time_is_up : 0;
}

std::string Stopping::reason(const train::StepRequest& request) const {
  if (request.what == time_is_up) return "its time limit";
  return fmt::format("{} at rank {}", stop_signal_name(static_cast<int>(request.what)), request.rank.value());
}

std::string Stopping::ask_for_restart() const { return requeue_ ? requeue_slurm_job(job_) : ""; }

}  // namespace conclave::apps
