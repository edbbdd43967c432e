// SPDX-License-Identifier: BSD-3-Clause
#include "apps/run_trace.hpp"

#include "apps/trace_file.hpp"
#include "comm/mpi/gather_texts.hpp"
#include "runtime/core/parallel.hpp"
#include "runtime/train/agreed.hpp"
#include "runtime/train/disk_file.hpp"

namespace conclave::apps {
namespace {

constexpr Index most_traced_ranks = 1024;  // as of simulated traces

// What a reader has to know of where spans stand.
constexpr std::array drawn{
    "rank N: its main thread; thread n: when it took calls that threads share out, thread 0 being the main one, and "
    "how "
    "many; a thread alone has no such rows",
    "a phase's spans add up to its time in the run's metrics; wait is for other ranks, and says for what; report and "
    "what is done between steps are in no phase",
    "on their way: from when a rank has sent its part to when it has seen all that is for it arrive; rows and bytes "
    "are those that came to it, with those that were there already",
    "a checkpoint on its way is written by threads while the run goes on",
    "clocks are those of the ranks, laid on rank 0's by a straight line through two measurements of their distance"};

Json clocks_json(std::span<const double> offsets) {
  Json clocks = Json::array();
  for (std::size_t at = 0; at < offsets.size(); at += 4) {
    clocks.push_back({{"rank", at / 4},
                      {"before_s", offsets[at]},
                      {"before_uncertainty_s", offsets[at + 1]},
                      {"after_s", offsets[at + 2]},
                      {"after_uncertainty_s", offsets[at + 3]}});
  }
  return clocks;
}

std::string steps_text(Index first, Index last) {
  return first == last ? fmt::format("step {}", first) : fmt::format("steps {} to {}", first, last);
}

}  // namespace

RunTrace::RunTrace(const train::TraceOptions& options, const comm::Communicator& world, Index done, Tell tell)
    : path_(options.trace), steps_(options.steps()), tell_(std::move(tell)) {
  if (!steps_) return;
  ranks_ = world.duplicate();
  train::on_root(world, [&] {
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    std::error_code error;
    if (folder.empty() || std::filesystem::is_directory(folder, error)) return;
    throw InputError(fmt::format("trace = '{}': there is no folder '{}'", path_, folder.string()),
                     "make the folder, or name another file");
  });
  if (steps_->last <= done) {
    tell_(fmt::format("no trace: trace_steps = {}, but the run goes on after step {}", options.trace_steps, done));
  } else if (steps_->first <= done) {
    tell_(fmt::format("the trace begins with step {}: trace_steps = {}, but the run goes on after step {}", done + 1,
                      options.trace_steps, done));
  }
}

void RunTrace::before_step(train::Trainer& trainer) {
  if (!steps_) return;
  const Index step = trainer.steps_done() + 1;
  if (!is_recording_ && !is_written_ && steps_->first <= step && step <= steps_->last) begin();
  if (is_recording_) last_ = step;
  if (is_recording_ && first_ == 0) first_ = step;
  trainer.record_in(is_recording_ ? &recorder_ : nullptr);
}

// The last thing is a barrier, so that no rank's first step waits for others' clocks.
void RunTrace::begin() {
  before_ = comm::measure_clock_offset(*ranks_);
  recorder_.begin();
  const auto own = static_cast<std::int64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(recorder_.began_at().time_since_epoch()).count());
  std::array root{own};
  ranks_->broadcast(std::span<std::int64_t>(root));
  since_root_s_ = 1e-9 * static_cast<double>(own - root[0]);
  first_ = 0;
  is_recording_ = true;
  ranks_->barrier();
}

void RunTrace::around_save(const Saver& saver, bool saves, const std::function<void()>& work) {
  const auto before = saver.on_its_way_since();
  if (before || saves) {
    around("checkpoint", work);
  } else {
    work();
  }
  if (!is_recording_ || !before || saver.on_its_way_since() == before) return;
  recorder_.add_transfer("checkpoint", *before, Clock::now());
}

void RunTrace::after_step(train::Trainer& trainer, const Saver& saver, bool at_end) {
  if (!steps_) return;
  if (is_recording_ && (at_end || trainer.steps_done() >= steps_->last)) {
    trainer.record_in(nullptr);
    if (saver.on_its_way_since()) recorder_.add_transfer("checkpoint", *saver.on_its_way_since(), Clock::now());
    is_recording_ = false;
    is_written_ = true;
    write();
  }
  if (at_end && !is_written_ && trainer.steps_done() < steps_->first) {
    tell_(fmt::format("no trace: the run ends after step {}, before {}", trainer.steps_done(),
                      steps_text(steps_->first, steps_->last)));
  }
}

// Ranks hand their events to the root one after another, whether it can write them or not.
void RunTrace::write() {
  after_ = comm::measure_clock_offset(*ranks_);
  const std::array mine{before_.seconds, before_.uncertainty_s, after_.seconds, after_.uncertainty_s};
  const std::vector<double> offsets = ranks_->gather_all(std::span<const double>(mine));
  const Index left_out = ranks_->sum(recorder_.left_out());
  const std::string text = events();
  if (!ranks_->is_root()) {
    comm::gather_texts(*ranks_, text, [](std::string_view) {});
    return;
  }
  const Json about{{"command", "train"},
                   {"predicted", false},
                   {"ranks", ranks_->size()},
                   {"threads", num_threads()},
                   {"steps", {first_, last_}},
                   {"left_out_thread_spans", left_out},
                   {"clocks", clocks_json(offsets)},
                   {"drawn", drawn}};
  bool is_gathered = false;
  const train::Failure failure = train::failure_of([&] {
    train::replace_file(path_, [&](const std::filesystem::path& partial) {
      TraceFile file(partial, about);
      is_gathered = true;
      comm::gather_texts(*ranks_, text, [&](std::string_view events) { file.write(events); });
      file.close();
    });
  });
  if (!is_gathered) comm::gather_texts(*ranks_, text, [](std::string_view) {});
  if (!failure.message.empty()) {
    tell_(fmt::format("the run goes on without its trace: {}{}{}", failure.message, failure.hint.empty() ? "" : "; ",
                      failure.hint));
    return;
  }
  const std::string some = ranks_->size() > most_traced_ranks
                               ? fmt::format(", the first {} of {} ranks", most_traced_ranks, ranks_->size())
                               : "";
  tell_(fmt::format("trace of {}{}: {}", steps_text(first_, last_), some, path_));
}

// This rank's, by rank 0's clock since rank 0 began. The clocks' distance changes so little that what follows on one
// another still does.
std::string RunTrace::events() const {
  if (ranks_->rank() >= RankId{most_traced_ranks}) return {};
  const auto on_root_clock = [&](double& time_s) {
    const auto moment =
        recorder_.began_at() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(time_s));
    time_s += since_root_s_ + comm::offset_at(moment, before_, after_);
  };
  TraceEvents events;
  const Index process = ranks_->rank().value() + 1;
  TraceRow row{process, 0};
  events.name_process(process, trace_name(ranks_->rank()), process);
  const auto add = [&](const std::string& name, std::vector<Span> spans) {
    ++row.thread;
    events.name_thread(row, name);
    for (Span& span : spans) {
      on_root_clock(span.begin_s);
      on_root_clock(span.end_s);
      events.add(row, span);
    }
  };
  add("main thread", recorder_.main_thread());
  const std::vector<std::vector<Span>> threads = recorder_.threads();
  for (std::size_t t = 0; t < threads.size(); ++t) add(fmt::format("thread {}", t), threads[t]);
  Index ways = 0;
  for (const std::vector<Span>& spans : recorder_.transfers()) {
    ++ways;
    add(ways == 1 ? "on their way" : fmt::format("on their way {}", ways), spans);
  }
  return events.text();
}

}  // namespace conclave::apps
