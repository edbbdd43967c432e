// SPDX-License-Identifier: BSD-3-Clause
#include "apps/job_file.hpp"

#include "apps/command_line.hpp"
#include "apps/shell_words.hpp"

#include <charconv>
#include <cmath>
#include <sstream>

namespace conclave::apps {
namespace {

constexpr std::string_view for_sbatch = "#SBATCH --";
constexpr std::string_view finds_folder = "slurm_folder=";

// "5 minutes before the end", or a quarter of a shorter time.
std::string signal_text(const std::optional<Duration>& time) {
  constexpr double lead_s = 300.0;
  const double seconds = time ? std::min(lead_s, time->seconds / 4.0) : lead_s;
  return fmt::format("B:USR1@{:.0f}", std::ceil(seconds));
}

void refuse_below_1(Index value, std::string_view name) {
  if (value < 1) throw InputError(fmt::format("{} = {}", name, value), "give at least 1");
}

bool is_memory(std::string_view text) {
  if (!text.empty() && std::string_view("KMGT").find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The digits that `text` begins with, taken off; nothing if there are none.
std::optional<Index> take_number(std::string_view& text) {
  Index value = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

// "3", "5-7" or "0-15:4", taken off; nothing if it is none.
std::optional<std::vector<Index>> take_tasks(std::string_view& text) {
  const auto first = take_number(text);
  auto last = first;
  std::optional<Index> step = 1;
  if (take(text, '-')) {
    last = take_number(text);
    if (take(text, ':')) step = take_number(text);
  }
  constexpr Index most = 4000000;  // SLURM's own limit of a task's number
  if (!first || !last || !step || *last < *first || *last > most || *step < 1) return std::nullopt;
  std::vector<Index> tasks;
  for (Index task = *first; task <= *last; task += *step) tasks.push_back(task);
  return tasks;
}

std::vector<std::string> of_task(std::vector<std::string> words, Index task) {
  const std::string number = fmt::format("{}", task);
  for (std::string& word : words) {
    for (std::size_t at = 0; (at = word.find("%a", at)) != std::string::npos; at += number.size()) {
      word.replace(at, 2, number);
    }
  }
  return words;
}

}  // namespace

Index JobOptions::ranks() const { return ntasks.value_or(nodes * ntasks_per_node.value_or(1)); }
Index JobOptions::ranks_per_node() const { return (ranks() + nodes - 1) / nodes; }

void describe(JobOptions& o, OptionTable& job, OptionTable& file) {
  job.add("nodes", o.nodes, "nodes of the job");
  job.add("ntasks", o.ntasks, "ranks; auto: ntasks-per-node on each node");
  job.add("ntasks_per_node", o.ntasks_per_node, "ranks of a node; auto: 1, or an even share of ntasks");
  job.add("cpus_per_task", o.cpus_per_task, "threads of a rank");
  job.add("exclusive", o.exclusive, "share the nodes with no other job");
  job.add(
      "mem", o.mem,
      "memory of a node, in SLURM's words (64G; 0: all of it); auto: by formula for a training, else the file's own");
  job.add("time", o.time, "the job's time limit; auto: for a training by step-time or from-run, else the file's own");
  job.add(
      "signal", o.signal,
      "SLURM's --signal, upon which the job saves; auto: B:USR1 five minutes before the time limit, or a quarter of "
      "a shorter one");
  job.add("requeue", o.requeue, "start again after a preemption, a dead node or the time limit");
  job.add("job_name", o.job_name, "the job's name; none: the file's own");
  job.add("output", o.output, "where the job's words go, in SLURM's patterns; none: NAME-JOB.out");
  for (const auto& [name, value] : {std::pair{"partition", &o.partition},
                                    {"account", &o.account},
                                    {"qos", &o.qos},
                                    {"constraint", &o.constraint}}) {
    job.add(name, *value, "SLURM's option of that name; none: the site's default");
  }
  file.add("job_files", o.job_files,
           "the folder of the job files and their environment.sh; none: the one that came with this program");
  file.add("write", o.write, "a new file to write the job into; none: it is printed");
}

void validate(const JobOptions& o) {
  refuse_below_1(o.nodes, "nodes");
  if (o.ntasks) refuse_below_1(*o.ntasks, "ntasks");
  if (o.ntasks_per_node) refuse_below_1(*o.ntasks_per_node, "ntasks_per_node");
  refuse_below_1(o.cpus_per_task, "cpus_per_task");
  if (o.ntasks && o.ntasks_per_node && *o.ntasks != o.nodes * *o.ntasks_per_node) {
    throw InputError(
        fmt::format("ntasks = {} with ntasks_per_node = {} on {} nodes", *o.ntasks, *o.ntasks_per_node, o.nodes),
        "give one of the two: ranks are shared out evenly");
  }
  if (o.ranks() < o.nodes) {
    throw InputError(fmt::format("ntasks = {} on {} nodes", o.ranks(), o.nodes), "give each node a rank at least");
  }
  if (o.mem != "auto" && !is_memory(o.mem)) {
    throw InputError(fmt::format("mem = {}", o.mem), "give MiB or a number with K, M, G or T; 0: all; or auto");
  }
  if (o.time && o.time->seconds <= 0.0) throw InputError("time = 0", "give the job some time, or auto");
}

std::filesystem::path job_files_folder(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path beside = program.parent_path();
  std::vector<fs::path> places{beside / "../share/conclave/slurm", beside / "../../../slurm"};
  if (!given.empty()) places = {given};
  for (const fs::path& place : places) {
    if (fs::exists(place / "job.sh", ignored)) return fs::canonical(place);
  }
  throw InputError(fmt::format("there are no job files in '{}'", places.front().lexically_normal().string()),
                   "name the folder that has train.sbatch and environment.sh with --job-files");
}

JobFile::JobFile(std::filesystem::path folder, const std::string& name) : folder_(std::move(folder)) {
  const std::filesystem::path path = folder_ / (name + ".sbatch");
  std::istringstream lines(read_file(path.string()));
  bool is_in_body = false;
  bool has_folder = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(for_sbatch)) {
      const std::string words = line.substr(for_sbatch.size());
      const std::size_t equals = words.find('=');
      is_in_body = true;
      setting(words.substr(0, equals)).value =
          equals == std::string::npos ? std::nullopt : std::optional(words.substr(equals + 1));
    } else if (line.starts_with(finds_folder)) {
      has_folder = true;
    } else if (has_folder) {
      rest_ += line + '\n';
    } else if (is_in_body) {
      body_ += line.starts_with('#') ? "" : line + '\n';
    }
  }
  if (!is_in_body || !has_folder) {
    throw InputError(fmt::format("'{}' is no job file that can be filled in", path.string()),
                     "it needs lines that begin with '#SBATCH --', and one with 'slurm_folder='");
  }
}

JobFile::Setting& JobFile::setting(const std::string& name) {
  const auto found = std::ranges::find(settings_, name, &Setting::name);
  return found == settings_.end() ? settings_.emplace_back(Setting{name, std::nullopt}) : *found;
}

void JobFile::set(const std::string& name, const std::string& value) {
  setting(name).value = sbatch_quoted(name, value);
}

std::string JobFile::value(const std::string& name) const {
  const auto found = std::ranges::find(settings_, name, &Setting::name);
  return found == settings_.end() ? std::string() : found->value.value_or("");
}

void JobFile::set_flag(const std::string& name, bool on) {
  if (on) {
    setting(name).value.reset();
  } else {
    std::erase_if(settings_, [&](const Setting& s) { return s.name == name; });
  }
}

void JobFile::set(const JobOptions& o) {
  set("nodes", fmt::format("{}", o.nodes));
  set("ntasks", fmt::format("{}", o.ranks()));
  set("ntasks-per-node", fmt::format("{}", o.ranks_per_node()));
  set("cpus-per-task", fmt::format("{}", o.cpus_per_task));
  set_flag("exclusive", o.exclusive);
  set_flag("requeue", o.requeue);
  set_flag("no-requeue", !o.requeue);
  if (o.mem != "auto") set("mem", o.mem);
  if (o.time) set("time", sbatch_time(o.time->seconds));
  const bool takes_signals = std::ranges::find(settings_, "signal", &Setting::name) != settings_.end();
  if (o.signal != "auto" || (takes_signals && o.time))
    set("signal", o.signal == "auto" ? signal_text(o.time) : o.signal);
  for (const auto& [name, value] : {std::pair{"job-name", &o.job_name},
                                    {"output", &o.output},
                                    {"partition", &o.partition},
                                    {"account", &o.account},
                                    {"qos", &o.qos},
                                    {"constraint", &o.constraint}}) {
    if (!value->empty()) set(name, *value);
  }
  set("open-mode", "append");
}

std::string JobFile::text(const std::filesystem::path& program, const std::filesystem::path& place,
                          const std::vector<std::string>& words) const {
  std::string text = "#!/usr/bin/env bash\n";
  for (const std::string& line : comments_) text += fmt::format("# {}\n", line);
  for (const Setting& s : settings_) {
    text += fmt::format("{}{}{}\n", for_sbatch, s.name, s.value ? "=" + *s.value : "");
  }
  text += fmt::format("{}chdir={}\n{}", for_sbatch, sbatch_quoted("the folder", place.string()), body_);
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(shell_quoted(word));
  text += fmt::format("{}{}\nCONCLAVE={}\nset -- {}\n", finds_folder, shell_quoted(folder_.string()),
                      shell_quoted(program.string()), fmt::join(quoted, " "));
  return text + rest_;
}

std::string sbatch_time(double seconds) {
  constexpr double most_minutes = 4e9;  // SLURM counts them in 32 bits
  if (!(seconds / 60.0 <= most_minutes)) {
    throw InputError(fmt::format("a time limit of {:.3g} days", seconds / 86400.0),
                     "SLURM takes about 2.7 million days: give the job less");
  }
  const auto minutes = static_cast<Index>(std::ceil(seconds / 60.0));
  return fmt::format("{}-{:02}:{:02}:00", minutes / 1440, minutes / 60 % 24, minutes % 60);
}

std::vector<Index> array_tasks(const std::string& array) {
  std::string_view text = array;
  std::vector<Index> tasks;
  bool is_good = true;
  do {
    const auto some = take_tasks(text);
    is_good = some.has_value();
    if (is_good) tasks.insert(tasks.end(), some->begin(), some->end());
  } while (is_good && take(text, ','));
  if (is_good && take(text, '%')) is_good = take_number(text).value_or(0) > 0;
  if (!is_good || !text.empty()) {
    throw InputError(fmt::format("array = {}", array),
                     "give numbers and ranges as sbatch does: 1-8, 1,3,5-7, 0-15:4, 1-8%2");
  }
  return tasks;
}

std::vector<std::vector<std::string>> calls_of(const std::string& array, const std::vector<std::string>& words) {
  if (array.empty()) return {words};
  if (words.front().find("%a") == std::string::npos) {
    throw InputError(fmt::format("the array's tasks would all write into {}", words.front()),
                     "put %a into it: it becomes the number of the task");
  }
  std::vector<std::vector<std::string>> calls;
  for (const Index task : array_tasks(array)) calls.push_back(of_task(words, task));
  return calls;
}

}  // namespace conclave::apps
