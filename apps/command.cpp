// SPDX-License-Identifier: BSD-3-Clause
#include "apps/command.hpp"

#include "apps/command_line.hpp"
#include "apps/option_text.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

std::string commands_help(Index width) {
  std::string out =
      "Usage: conclave COMMAND [OPTION...]\n"
      "       mpirun -n RANKS conclave COMMAND [OPTION...]\n\n"
      "Mixture-of-experts training across MPI ranks.\n\nCommands:\n";
  constexpr Index column = 14;
  for (const Command& command : commands()) {
    out += fmt::format("  {:<{}}{}\n", command.name, column - 2, wrapped(command.help, column, width));
  }
  out += "\n'conclave COMMAND --help' lists a command's options; 'conclave --version' tells the version.\n";
  return out;
}

std::string command_help(const Command& command, Index width) {
  const auto call = command.call();
  OptionSections options;
  call->describe(options);
  const std::string arguments = command.arguments.empty() ? "" : fmt::format(" {}", command.arguments);
  std::string out =
      fmt::format("Usage: conclave {} [OPTION...]{}\n\n{}\n", command.name, arguments, wrapped(command.help, 0, width));
  const std::string described = options_help(options, width);
  if (!described.empty()) out += "\n" + described;
  OptionSections general;
  std::string config;
  general.section("Every command").add("config", config, "a configuration file; the command line's values win");
  return out + "\n" + options_help(general, width);
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> all{train_command(),   evaluate_command(), generate_command(), bench_command(),
                                        inspect_command(), check_command(),    doctor_command()};
  return all;
}

const Command& command_named(std::string_view name) {
  const auto found = std::find_if(commands().begin(), commands().end(), [&](auto& c) { return c.name == name; });
  if (found != commands().end()) return *found;
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  throw InputError(fmt::format("unknown command '{}'{}", name, did_you_mean(nearest_names(name, names))),
                   fmt::format("the commands are {}", fmt::join(names, ", ")));
}

std::optional<std::string> help_text(std::span<const std::string> words, Index width) {
  const auto asks_help = [](std::string_view word) { return word == "--help" || word == "-h"; };
  if (words.empty() || asks_help(words[0])) return commands_help(width);
  if (words[0] == "--version") return fmt::format("conclave {}\n", CONCLAVE_VERSION);
  const auto known = std::any_of(commands().begin(), commands().end(), [&](auto& c) { return c.name == words[0]; });
  const auto end = std::find(words.begin(), words.end(), "--");
  if (!known || std::none_of(words.begin(), end, asks_help)) return std::nullopt;
  return command_help(command_named(words[0]), width);
}

}  // namespace conclave::apps
