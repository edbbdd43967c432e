// SPDX-License-Identifier: BSD-3-Clause
// The commands of the executable. A command's file holds an aggregate of its options, a function that describes them, a
// function that does the work, and one that makes the Command of them; the table in command.cpp names them all. A
// family of commands (`bench gemm`, `bench layer`) has a table of its own, and each member its own options.
#pragma once

#include "apps/blas_kernel.hpp"
#include "apps/option_sections.hpp"
#include "comm/mpi/communicator.hpp"

#include <memory>
#include <set>

namespace conclave::apps {

/// What a command is given beside its options.
struct Session {
  const comm::Communicator& world;
  const BlasChoice& blas;
  std::vector<std::string> arguments;  // words on the command line that are no options
  std::set<std::string> given;         // options that got a value, on the command line or in the configuration file
  std::set<std::string> from_file;     // those of them that got it in the file
};

/// A command being called: first it describes its options, then, when they have their values, it runs.
class CommandCall {
 public:
  virtual ~CommandCall() = default;
  /// The sections refer to this object.
  virtual void describe(OptionSections& options) = 0;
  /// Collective; returns the exit code, the same on all ranks.
  virtual int run(const Session& session) = 0;
};

struct Command {
  std::string_view name;
  std::string_view help;       // one line
  std::string_view arguments;  // what it takes beside options, for its usage line ("FILE..."); empty for nothing
  std::function<std::unique_ptr<CommandCall>()> call;
  std::vector<Command> members{};   // of a family, which is called by a member's name behind its own
  bool keeps_stop_signals = false;  // looks at stop_signal(), so that none may end it from its first moment on
};

/// The call of a command that is two functions over an aggregate of options, which starts with the defaults.
template <class Options>
class CallOf final : public CommandCall {
 public:
  using Describe = void (*)(Options& options, OptionSections& sections);
  using Run = int (*)(const Options& options, const Session& session);

  CallOf(Describe describe_options, Run run_command) : describe_(describe_options), run_(run_command) {}
  void describe(OptionSections& sections) override { describe_(options_, sections); }
  int run(const Session& session) override { return run_(options_, session); }

 private:
  Options options_{};
  Describe describe_;
  Run run_;
};

/// The Command of one file's functions.
template <class Options>
[[nodiscard]] Command make_command(std::string_view name, std::string_view help, std::string_view arguments,
                                   typename CallOf<Options>::Describe describe, typename CallOf<Options>::Run run) {
  return {name, help, arguments, [describe, run] { return std::make_unique<CallOf<Options>>(describe, run); }};
}

/// All commands, in the order of --help.
[[nodiscard]] const std::vector<Command>& commands();

/// What a command line calls: the command, by what name, and the words that are left for its options.
struct CalledCommand {
  const Command& command;
  std::string name;  // "train", "bench layer"
  std::span<const std::string> words;
};
/// The command that `words` (the command line after the program's name) call. InputError with the nearest names for an
/// unknown one, and where a family is called without a member.
[[nodiscard]] CalledCommand called_command(std::span<const std::string> words);

/// Whether `words` call a command that keeps stop signals. Of any words.
[[nodiscard]] bool keeps_stop_signals(std::span<const std::string> words);

/// What `words` (the command line after the program's name) ask to be printed: the table of commands for --help or no
/// word at all, a family's members or one command's options for COMMAND --help, the version for --version. Nothing if
/// there is work to do.
[[nodiscard]] std::optional<std::string> help_text(std::span<const std::string> words, Index width);

[[nodiscard]] Command train_command();
[[nodiscard]] Command evaluate_command();
[[nodiscard]] Command generate_command();
[[nodiscard]] Command bench_command();
[[nodiscard]] Command simulate_command();
[[nodiscard]] Command watch_command();
[[nodiscard]] Command report_command();
[[nodiscard]] Command inspect_command();
[[nodiscard]] Command check_command();
[[nodiscard]] Command doctor_command();
[[nodiscard]] Command slurm_command();

}  // namespace conclave::apps
