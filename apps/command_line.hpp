// SPDX-License-Identifier: BSD-3-Clause
// Option tables as a command line and a configuration file: the command line comes first, then `--config FILE` (INI),
// then the defaults. Boost.Program_options parses; what there is to parse stands in the tables alone.
#pragma once

#include "apps/option_sections.hpp"

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace conclave::apps {

/// What a command line says beside its options' values.
struct ParsedLine {
  bool help = false;                   // --help stood there: nothing else was looked at
  std::optional<std::string> config;   // --config
  std::vector<std::string> arguments;  // words that are neither options nor their values
  std::set<std::string> given;         // names of options that got a value here or in the configuration file
  std::set<std::string> from_file;     // those of them that got it in the file
};

/// Gives a file's text; InputError if it cannot. How a configuration file is read is the caller's choice: on many ranks
/// one reads for all.
using ReadFile = std::function<std::string(const std::string& path)>;

/// The text of a file. InputError if it cannot be read.
[[nodiscard]] std::string read_file(const std::string& path);

/// Gives `options` the values that `words` (the command line after the command's name) and the configuration file name;
/// the others keep their defaults. `--top-k 2`, `--top-k=2` and `--top_k 2` are the same; a flag is given as `--flag`,
/// `--flag=no` or `--no-flag`; after `--` every word is an argument. InputError for an unknown option (with the nearest
/// names), a missing or bad value, an option given twice (lists of words add up), and for arguments unless
/// `takes_arguments`.
[[nodiscard]] ParsedLine parse_command_line(std::span<const std::string> words, bool takes_arguments,
                                            const OptionSections& options, const ReadFile& read = read_file);

}  // namespace conclave::apps
