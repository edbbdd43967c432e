// SPDX-License-Identifier: BSD-3-Clause
#include "apps/option_text.hpp"

#include "apps/config_file.hpp"

#include <algorithm>

namespace conclave::apps {
namespace {

// What a flag accepts is told by how it is written.
std::string usage_of(const Option& option) {
  return option.is_flag ? fmt::format("{}[=no]", flag_of(option.name)) : flag_of(option.name);
}

std::string details_of(const Option& option) {
  const std::string value = option.text();
  const std::string accepts = option.is_flag ? "" : option.accepts + "; ";
  return fmt::format("{} ({}default: {})", option.help, accepts, value.empty() ? "none" : value);
}

// Lines of comment.
std::string comment(std::string_view text) {
  std::string result = "# ";
  for (const char c : wrapped(text, 0, 100)) result += c == '\n' ? "\n# " : std::string(1, c);
  return result + '\n';
}

}  // namespace

std::string configuration_text(std::string_view title, const OptionSections& options) {
  std::string out = comment(title);
  for (const OptionSection& section : options.sections()) {
    out += fmt::format("\n# ---- {} ----\n", section.title);
    for (const Option& option : section.table.options()) {
      out += comment(fmt::format("{} ({})", option.help, option.accepts));
      out += fmt::format("{} = {}\n", option.name, quoted_if_needed(option.text()));
    }
  }
  return out;
}

std::string options_help(const OptionSections& options, Index width) {
  constexpr Index column = 28;  // where the explanations begin
  std::string out;
  for (const OptionSection& section : options.sections()) {
    out += fmt::format("{}{}:\n", out.empty() ? "" : "\n", section.title);
    for (const Option& option : section.table.options()) {
      const std::string usage = "  " + usage_of(option);
      const bool fits = static_cast<Index>(usage.size()) < column - 1;
      out += fits ? fmt::format("{:<{}}", usage, column) : fmt::format("{}\n{:{}}", usage, "", column);
      out += wrapped(details_of(option), column, width) + '\n';
    }
  }
  return out;
}

std::string wrapped(std::string_view text, Index indent, Index width) {
  std::string out;
  Index at = indent;  // the column to write next
  while (!text.empty()) {
    const auto space = text.find_first_of(" \n");
    const std::string_view word = text.substr(0, space);
    text = space == std::string_view::npos ? std::string_view{} : text.substr(space + 1);
    if (word.empty()) continue;
    const auto length = static_cast<Index>(word.size());
    if (at > indent && at + 1 + length > width) {
      out += '\n' + std::string(static_cast<std::size_t>(indent), ' ');
      at = indent;
    }
    if (at > indent) {
      out += ' ';
      ++at;
    }
    out += word;
    at += length;
  }
  return out;
}

std::string flag_of(std::string_view name) {
  std::string result = "--" + std::string(name);
  std::replace(result.begin(), result.end(), '_', '-');
  return result;
}

}  // namespace conclave::apps
