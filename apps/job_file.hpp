// SPDX-License-Identifier: BSD-3-Clause
// A job file of slurm/ filled in for one job.
#pragma once

#include "runtime/core/options.hpp"

#include <filesystem>

namespace conclave::apps {

/// What of a job is SLURM's matter, in SLURM's words.
struct JobOptions {
  Index nodes = 1;
  std::optional<Index> ntasks;
  std::optional<Index> ntasks_per_node;
  Index cpus_per_task = 1;
  bool exclusive = true;
  std::string mem = "auto";
  std::optional<Duration> time;
  std::string signal = "auto";
  bool requeue = true;
  std::string job_name;
  std::string output;
  std::string partition;
  std::string account;
  std::string qos;
  std::string constraint;
  std::string job_files;
  std::string write;

  [[nodiscard]] Index ranks() const;
  [[nodiscard]] Index ranks_per_node() const;  // of the fullest node
};

void describe(JobOptions& options, OptionTable& job, OptionTable& file);
/// InputError for values out of range or at odds with each other.
void validate(const JobOptions& options);

/// The folder of the job files and of what they share: the one given, that of this program's installation, or that of
/// the sources it was built from. InputError if there is none.
[[nodiscard]] std::filesystem::path job_files_folder(const std::string& given);

class JobFile {
 public:
  /// Begins as FOLDER/NAME.sbatch. InputError if that is not there, or not of the form that can be filled in.
  JobFile(std::filesystem::path folder, const std::string& name);

  /// A line of comment at the top.
  void comment(const std::string& text) { comments_.push_back(text); }
  /// `#SBATCH --name=value`, in place of what the file has under that name. InputError as sbatch_quoted.
  void set(const std::string& name, const std::string& value);
  /// What stands there under that name, as it would be printed; empty if nothing does.
  [[nodiscard]] std::string value(const std::string& name) const;
  /// `#SBATCH --name`, or not.
  void set_flag(const std::string& name, bool on);
  /// What `options` say, but for auto.
  void set(const JobOptions& options);

  /// The file's text: a job of the program `program` with these words as its arguments, in the folder `place`.
  [[nodiscard]] std::string text(const std::filesystem::path& program, const std::filesystem::path& place,
                                 const std::vector<std::string>& words) const;

 private:
  struct Setting {
    std::string name;
    std::optional<std::string> value;  // as it stands in the file; nothing: a flag
  };
  Setting& setting(const std::string& name);

  std::filesystem::path folder_;
  std::vector<std::string> comments_;
  std::vector<Setting> settings_;
  std::string body_;  // behind the lines for sbatch, but for the lines that find the folder
  std::string rest_;  // and behind those
};

/// A time as sbatch reads it, "1-02:30:00", up to the next minute. InputError for more than SLURM can count.
[[nodiscard]] std::string sbatch_time(double seconds);

/// The numbers that an array's specification stands for: "1,3,5-7", "0-15:4", "1-8%2". InputError for what is none.
[[nodiscard]] std::vector<Index> array_tasks(const std::string& array);

/// The words of each task of an array, %a being its number; without an array the words themselves. InputError as
/// array_tasks, and where the first word, a folder, would be that of all tasks.
[[nodiscard]] std::vector<std::vector<std::string>> calls_of(const std::string& array,
                                                             const std::vector<std::string>& words);

}  // namespace conclave::apps
