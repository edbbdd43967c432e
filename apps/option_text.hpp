// SPDX-License-Identifier: BSD-3-Clause
// Options as text: the configuration file and the options' part of --help.
#pragma once

#include "apps/option_sections.hpp"

namespace conclave::apps {

/// All options with their present values as the text of a configuration file, from which `--config` reads the same
/// values again. `title` becomes its first comment.
[[nodiscard]] std::string configuration_text(std::string_view title, const OptionSections& options);

/// The options' part of `--help`: for each its name on the command line, what it accepts, its default (the present
/// value) and its help, wrapped at `width` columns.
[[nodiscard]] std::string options_help(const OptionSections& options, Index width);

/// `text` broken at spaces into lines of at most `width` columns, each after the first indented by `indent`. A word
/// that is longer than a line keeps its own.
[[nodiscard]] std::string wrapped(std::string_view text, Index indent, Index width);

/// A name as the command line writes it: top_k -> --top-k.
[[nodiscard]] std::string flag_of(std::string_view name);

}  // namespace conclave::apps
