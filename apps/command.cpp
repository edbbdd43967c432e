// SPDX-License-Identifier: BSD-3-Clause
#include "apps/command.hpp"

#include "apps/command_line.hpp"
#include "apps/examples.hpp"
#include "apps/failure.hpp"
#include "apps/model_commands.hpp"
#include "apps/option_text.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

bool asks_help(std::string_view word) { return word == "--help" || word == "-h"; }

std::string names_with_help(const std::vector<Command>& all, Index width) {
  std::string out;
  constexpr Index column = 14;
  for (const Command& command : all) {
    out += fmt::format("  {:<{}}{}\n", command.name, column - 2, wrapped(command.help, column, width));
  }
  return out;
}

std::string commands_help(Index width) {
  return fmt::format(
      "Usage: conclave COMMAND [OPTION...]\n"
      "       mpirun -n RANKS conclave COMMAND [OPTION...]\n\n"
      "Mixture-of-experts training across MPI ranks, and its simulation.\n\nCommands:\n"
      "{}\n{}\n\n'conclave COMMAND --help' lists a command's options; 'conclave --version' tells the version.\n",
      names_with_help(commands(), width), wrapped(exit_codes_text, 0, width));
}

std::string family_help(const Command& family, Index width) {
  return fmt::format(
      "Usage: conclave {0} {1} [OPTION...]\n\n{2}\n\n{1} is one of:\n{3}\n'conclave {0} {1} --help' lists the options "
      "of one.\n",
      family.name, family.arguments, wrapped(family.help, 0, width), names_with_help(family.members, width));
}

std::string command_help(const CalledCommand& called, Index width) {
  const Command& command = called.command;
  const auto call = command.call();
  OptionSections options;
  call->describe(options);
  const std::string arguments = command.arguments.empty() ? "" : fmt::format(" {}", command.arguments);
  std::string out =
      fmt::format("Usage: conclave {} [OPTION...]{}\n\n{}\n", called.name, arguments, wrapped(command.help, 0, width));
  const std::string described = options_help(options, width);
  out += fmt::format("\nFor example:\n  {}\n", fmt::join(examples_of(called.name), "\n  "));
  if (!described.empty()) out += "\n" + described;
  OptionSections general;
  std::string config;
  general.section("Every command").add("config", config, "a configuration file; the command line's values win");
  return out + "\n" + options_help(general, width);
}

const Command* find_command(const std::vector<Command>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](auto& c) { return c.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// `what`: "command", or a family's name.
const Command& command_named(const std::vector<Command>& all, std::string_view what, std::string_view name) {
  if (const Command* found = find_command(all, name)) return *found;
  std::vector<std::string> names;
  for (const Command& command : all) names.emplace_back(command.name);
  throw InputError(fmt::format("unknown {} '{}'{}", what, name, did_you_mean(nearest_names(name, names))),
                   fmt::format("it is one of {}", fmt::join(names, ", ")));
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> all{train_command(),  evaluate_command(), generate_command(), watch_command(),
                                        report_command(), bench_command(),    simulate_command(), inspect_command(),
                                        export_command(), import_command(),   edit_command(),     compress_command(),
                                        check_command(),  doctor_command(),   slurm_command()};
  return all;
}

CalledCommand called_command(std::span<const std::string> words) {
  const Command& first = command_named(commands(), "command", words.front());
  if (first.members.empty()) return {first, words.front(), words.subspan(1)};
  if (words.size() < 2 || words[1].starts_with("-")) {
    throw InputError(fmt::format("{} what?", first.name),
                     fmt::format("its name comes first: conclave {0} {1} [OPTION...]; conclave {0} --help lists them",
                                 first.name, first.arguments));
  }
  const Command& member = command_named(first.members, first.name, words[1]);
  return {member, fmt::format("{} {}", words[0], words[1]), words.subspan(2)};
}

bool keeps_stop_signals(std::span<const std::string> words) {
  const Command* command = words.empty() ? nullptr : find_command(commands(), words.front());
  return command != nullptr && command->keeps_stop_signals;
}

std::optional<std::string> help_text(std::span<const std::string> words, Index width) {
  if (words.empty() || asks_help(words[0])) return commands_help(width);
  if (words[0] == "--version") return fmt::format("conclave {}\n", CONCLAVE_VERSION);
  const Command* first = find_command(commands(), words[0]);
  const auto end = std::find(words.begin(), words.end(), "--");
  if (first == nullptr || std::none_of(words.begin(), end, asks_help)) return std::nullopt;
  if (first->members.empty()) return command_help(called_command(words), width);
  if (asks_help(words[1])) return family_help(*first, width);
  return find_command(first->members, words[1]) == nullptr ? std::nullopt
                                                           : std::optional(command_help(called_command(words), width));
}

}  // namespace conclave::apps
