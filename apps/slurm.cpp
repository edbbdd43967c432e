// SPDX-License-Identifier: BSD-3-Clause
// The family of commands `slurm`: a job file for one job, from the files of slurm/, with nothing left to fill in and
// everything checked that can be checked before it waits in a queue.
#include "apps/bench.hpp"
#include "apps/command_line.hpp"
#include "apps/job_file.hpp"
#include "apps/launch.hpp"
#include "apps/memory.hpp"
#include "apps/option_text.hpp"
#include "apps/partition.hpp"
#include "apps/progress.hpp"
#include "apps/shell_words.hpp"
#include "apps/simulate.hpp"
#include "apps/train_case.hpp"
#include "apps/train_options.hpp"
#include "apps/training_needs.hpp"
#include "runtime/train/agreed.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>

namespace conclave::apps {
namespace {

using Words = std::vector<std::string>;

// --- What the jobs have in common

// The folder that the job works in stands first among the arguments.
void refuse_no_folder(const Session& session, std::string_view job) {
  const Words& words = session.arguments;
  // An option there means that the folder was forgotten.
  if (!words.empty() && !words.front().empty() && !words.front().starts_with('-')) return;
  throw InputError("no FOLDER", fmt::format("conclave slurm {} [OPTION...] FOLDER -- ...; --help tells more", job));
}

JobFile begun(const JobOptions& o, const std::string& name) {
  JobFile file(job_files_folder(o.job_files), name);
  file.comment(fmt::format("Made by `conclave slurm {}` of conclave {}; sbatch takes it.", name, CONCLAVE_VERSION));
  file.comment(fmt::format("{} ranks on {} nodes, {} threads each", o.ranks(), o.nodes, o.cpus_per_task));
  return file;
}

// What SLURM, where there is one, would not start: told on stderr and in the job. On one rank.
void warn_of_partition(JobFile& file, const JobOptions& o) {
  const std::optional<Partition> partition = find_partition(o.partition);
  if (!partition) return;
  for (const std::string& sentence : beyond(*partition, {o.nodes, file.value("mem"), file.value("time")})) {
    file.comment("warning: the job " + sentence);
    fmt::print(stderr, "warning: the job {}\n", sentence);
  }
}

// Prints the job, or writes it into a file that is not there yet. Collective.
void publish(JobFile& file, const JobOptions& o, const Session& session) {
  train::on_root(session.world, [&] {
    warn_of_partition(file, o);
    const std::string text =
        file.text(std::filesystem::read_symlink("/proc/self/exe"), std::filesystem::current_path(), session.arguments);
    if (o.write.empty()) {
      fmt::print("{}", text);
      return;
    }
    if (std::filesystem::exists(o.write)) {
      throw InputError(fmt::format("'{}' is there already", o.write), "name a new file, or remove this one");
    }
    write_file(o.write, text);
  });
}

// The values of `words` as those of a command with these options; what was given. InputError on every rank. Collective.
ParsedLine parse(std::span<const std::string> words, const OptionSections& sections, const Session& session) {
  ParsedLine line;
  train::agreed(session.world, [&] { line = parse_command_line(words, false, sections); });
  if (line.help) throw InputError("--help behind '--'", "ask the command itself: conclave train --help");
  return line;
}

void refuse_own(const ParsedLine& line, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (!line.given.contains(name) || line.from_file.contains(name)) continue;
    throw InputError(fmt::format("option '{}' behind '--'", flag_of(name)), "the job gives it itself: leave it out");
  }
}

void describe_array(std::string& array, OptionTable& job) {
  job.add("array", array, "as sbatch's: one call a task; %a in any word behind is the task's number");
}

void set_array(const std::string& array, const JobOptions& job, JobFile& file) {
  if (array.empty()) return;
  file.set("array", array);
  if (job.output.empty()) file.set("output", "%x-%A_%a.out");
}

// --- train

struct SlurmTrain {
  JobOptions job;
  std::string array;
  std::optional<Duration> step_time;
  std::string from_run;
};

void describe_train(SlurmTrain& o, OptionSections& sections) {
  OptionTable& job = sections.section("Job");
  OptionTable& need = sections.section("Time of a training");
  describe(o.job, job, sections.section("File"));
  describe_array(o.array, job);
  need.add("from_run", o.from_run, "a run's folder, whose measured steps and saves tell how long this one takes");
  need.add("step_time", o.step_time, "the time of a step; auto: from-run's");
}

// The options that the words behind the folder give the run; its data. Collective.
struct PlannedRun {
  TrainCase options;
  std::unique_ptr<train::Samples> samples;
};

PlannedRun planned(const Words& words, const SlurmTrain& o, const Session& session) {
  PlannedRun run;
  TrainCommand command;
  OptionSections sections;
  describe_train_command(command, sections);
  const ParsedLine line = parse(std::span(words).subspan(1), sections, session);
  validate(command.pricing, command.run);
  train::TrainOptions& training = run.options.train = command.run;
  refuse_own(line, {"out", "resume", "requeue"});
  if (training.explain_router)
    throw InputError("explain_router = yes in a job", "call conclave train with it yourself");
  const Index threads = training.compute.threads;
  if (threads > 0 && threads != o.job.cpus_per_task) {
    throw InputError(fmt::format("threads = {} with cpus_per_task = {}", threads, o.job.cpus_per_task),
                     "give --cpus-per-task the number of threads, and leave --threads out");
  }
  training.out = words.front();
  training.resume.clear();
  run.samples = settle(run.options, {session.world, session.blas, {}, line.given, line.from_file});
  return run;
}

// All that the job's runs have in them is looked at; the most that a rank of any needs [bytes]. Collective.
struct Checked {
  train::TrainOptions first;
  double rank_bytes = 0.0;
};

Checked checked(const SlurmTrain& o, const Session& session) {
  const auto topology = plan::Topology::filled(o.job.ranks(), o.job.ranks_per_node());
  Checked result;
  std::set<std::string> seen;
  for (const Words& words : calls_of(o.array, session.arguments)) {
    const PlannedRun run = planned(words, o, session);
    if (seen.empty()) result.first = run.options.train;
    train::TrainOptions alike = run.options.train;
    alike.out.clear();
    alike.seed = 0;
    if (!seen.insert(training_configuration(alike)).second) continue;
    const double bytes =
        fullest_rank_bytes(run.options.train, run.samples->shape(), topology, o.job.cpus_per_task, session.world);
    result.rank_bytes = std::max(result.rank_bytes, bytes);
  }
  return result;
}

void set_memory(const SlurmTrain& o, double formula_bytes, const Session& session, JobFile& file) {
  if (o.job.mem != "auto") return;
  constexpr double beside = 0.2;
  constexpr double mib = 1024.0 * 1024.0;
  constexpr double of_rank = 64.0 * mib;   // what MPI keeps where there is a network
  constexpr double of_node = 512.0 * mib;  // the job's script and the launcher
  // with the data, and without what other ranks of this node share
  const double here = session.world.max(resident_memory());
  const double rank = (formula_bytes + here) * (1.0 + beside) + of_rank;
  const double node = static_cast<double>(o.job.ranks_per_node()) * rank + of_node;
  file.set("mem", fmt::format("{:.0f}M", std::ceil(node / mib)));
  file.comment(fmt::format(
      "memory: {} by formula on the fullest rank, {} for the program and its data as measured here, "
      "a fifth and {} more; {} ranks a node, and {}",
      bytes_text(formula_bytes), bytes_text(here), bytes_text(of_rank), o.job.ranks_per_node(), bytes_text(of_node)));
}

// Options of the measured run that this one has otherwise, of those that a step's time may depend on.
std::string other_options(const MeasuredRun& measured, const train::TrainOptions& options) {
  const std::set<std::string> of_no_step{"checkpoint_every", "eval_every", "eval_sequences", "keep_every",
                                         "keep_last",        "mtbf",       "seed",           "steps"};
  Words differences;
  for (const auto& [name, value] : option_values(options)) {
    const auto was = measured.config.find(name);
    if (was == measured.config.end() || was->second == value || of_no_step.contains(name)) continue;
    differences.push_back(fmt::format("{} {}, here {}", name, shell_quoted(was->second), shell_quoted(value)));
  }
  return fmt::format("{}", fmt::join(differences, "; "));
}

// What a step takes, with what it is known from in a comment of `file`.
struct StepTime {
  double step_s = 0.0;
  std::optional<double> save_s;
};

std::optional<StepTime> step_time(const SlurmTrain& o, const train::TrainOptions& options, JobFile& file) {
  if (o.step_time) {
    file.comment(fmt::format("a step takes {}, as was given", seconds_text(o.step_time->seconds)));
    return StepTime{o.step_time->seconds, std::nullopt};
  }
  if (o.from_run.empty()) return std::nullopt;
  const MeasuredRun run = measured_run(o.from_run);
  if (run.ranks != o.job.ranks() || run.threads != o.job.cpus_per_task) {
    throw InputError(fmt::format("'{}' was measured on {} ranks of {} threads, this job has {} of {}", o.from_run,
                                 run.ranks, run.threads, o.job.ranks(), o.job.cpus_per_task),
                     "a step's time says nothing about other ranks: give --step-time, or --time");
  }
  file.comment(fmt::format("a step takes {}, the median of {} steps of {} on as many ranks; a save {}",
                           seconds_text(run.step_s), run.steps, shell_quoted(o.from_run),
                           run.save_s ? seconds_text(*run.save_s) : "was not measured there"));
  const std::string others = other_options(run, options);
  if (!others.empty()) file.comment(fmt::format("that run had other options: {}", others));
  return StepTime{run.step_s, run.save_s};
}

void set_time(const SlurmTrain& o, const train::TrainOptions& options, JobOptions& job, JobFile& file) {
  const std::optional<StepTime> step = step_time(o, options, file);
  if (!step) {
    if (job.time) return;
    throw InputError("how long the training takes is not known",
                     "give --time, --step-time, or --from-run with a run on as many ranks");
  }
  const double needed_s = training_seconds(options, step->step_s, step->save_s);
  file.comment(fmt::format("time: {} for the steps and saves, a tenth and ten minutes more", time_text(needed_s)));
  if (!job.time) {
    job.time = Duration{needed_s};
  } else if (job.time->seconds < needed_s) {
    file.comment(fmt::format("the time limit is shorter: about {:.0f} starts of the job{}",
                             std::ceil(needed_s / job.time->seconds),
                             job.requeue ? "" : ", of which it asks for none"));
  }
}

int run_train(const SlurmTrain& o, const Session& session) {
  validate(o.job);
  refuse_no_folder(session, "train");
  std::optional<JobFile> file;
  train::agreed(session.world, [&] { file.emplace(begun(o.job, "train")); });
  const Checked runs = checked(o, session);
  JobOptions job = o.job;
  train::agreed(session.world, [&] { set_time(o, runs.first, job, *file); });
  set_memory(o, runs.rank_bytes, session, *file);
  train::agreed(session.world, [&] {
    file->set(job);
    set_array(o.array, job, *file);
  });
  publish(*file, job, session);
  return 0;
}

// --- scaling and bench

void describe_job(JobOptions& o, OptionSections& sections) {
  OptionTable& job = sections.section("Job");
  describe(o, job, sections.section("File"));
}

int write_job(const JobOptions& o, const std::string& name, const Session& session) {
  std::optional<JobFile> file;
  train::agreed(session.world, [&] {
    file.emplace(begun(o, name));
    file->set(o);
  });
  publish(*file, o, session);
  return 0;
}

int run_scaling(const JobOptions& o, const Session& session) {
  validate(o);
  refuse_no_folder(session, "scaling");
  const Command measurement = bench_scaling();
  const auto call = measurement.call();
  OptionSections sections;
  call->describe(sections);
  const ParsedLine line = parse(std::span(session.arguments).subspan(1), sections, session);
  refuse_own(line, {"points", "collect", "csv", "picture", "calibration", "json"});
  std::vector<Index> ranks;
  OptionTable table;
  table.add("ranks", ranks, "");
  const std::string given = sections.find("ranks")->text();
  if (!given.empty()) table.assign("ranks", given);
  for (const Index number : ranks) {
    if (number <= o.ranks()) continue;
    throw InputError(fmt::format("ranks has {}, the job {}", number, o.ranks()),
                     "give it more nodes, or more ranks a node");
  }
  return write_job(o, "scaling", session);
}

int run_bench(const JobOptions& o, const Session& session) {
  validate(o);
  refuse_no_folder(session, "bench");
  for (std::size_t i = 1; i < session.arguments.size(); ++i) {
    static_cast<void>(called_command(Words{"bench", session.arguments[i]}));
  }
  return write_job(o, "bench", session);
}

// --- simulate

struct SlurmSimulate {
  JobOptions job;
  std::string array;

  SlurmSimulate() { job.exclusive = false; }
};

void describe_simulate(SlurmSimulate& o, OptionSections& sections) {
  describe_job(o.job, sections);
  describe_array(o.array, sections.section("Job"));
}

// The options of one simulation, and that its machine can be read. Collective.
void check_point(const Words& point, const Session& session) {
  Words words{"simulate"};
  words.insert(words.end(), point.begin(), point.end());
  const CalledCommand called = called_command(words);
  const auto call = called.command.call();
  OptionSections sections;
  call->describe(sections);
  refuse_own(parse(called.words, sections, session), {"json"});
  train::agreed(session.world, [&] { static_cast<void>(cluster_of(sections.find("cluster")->text())); });
}

int run_simulate(const SlurmSimulate& o, const Session& session) {
  validate(o.job);
  refuse_no_folder(session, "simulate");
  if (o.job.ranks() != 1) {
    throw InputError(fmt::format("{} ranks for simulations", o.job.ranks()),
                     "one rank takes one after another: leave nodes and ntasks out, or give an array");
  }
  if (session.arguments.size() < 2)
    throw InputError("nothing to simulate", "conclave slurm simulate FOLDER -- step ...");
  for (const Words& words : calls_of(o.array, session.arguments)) {
    Words point;
    for (std::size_t i = 1; i <= words.size(); ++i) {
      if (i < words.size() && words[i] != "--") {
        point.push_back(words[i]);
        continue;
      }
      check_point(point, session);
      point.clear();
    }
  }
  std::optional<JobFile> file;
  train::agreed(session.world, [&] {
    file.emplace(begun(o.job, "simulate"));
    file->set(o.job);
    set_array(o.array, o.job, *file);
  });
  publish(*file, o.job, session);
  return 0;
}

}  // namespace

Command slurm_command() {
  return {
      "slurm",
      "print a file for sbatch: a job, filled in and checked before it waits in a queue",
      "JOB",
      {},
      {make_command<SlurmTrain>("train",
                                "a training into FOLDER, with the options of `conclave train` behind `--`; it goes on "
                                "from its newest checkpoint whenever the job starts",
                                "FOLDER -- [OPTION...]", describe_train, run_train),
       make_command<JobOptions>("scaling",
                                "a study of strong and weak scaling into FOLDER, with the options of `conclave bench "
                                "scaling` behind `--`",
                                "FOLDER -- [OPTION...]", describe_job, run_scaling),
       make_command<JobOptions>("bench",
                                "what `conclave bench` measures, into FOLDER; all but scaling if none is named",
                                "FOLDER [MEASUREMENT...]", describe_job, run_bench),
       make_command<SlurmSimulate>(
           "simulate", "what `conclave simulate` predicts for each of the points behind `--`, into FOLDER",
           "FOLDER -- WHAT [OPTION...] [-- WHAT [OPTION...]]...", describe_simulate, run_simulate)}};
}

}  // namespace conclave::apps
