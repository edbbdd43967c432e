// SPDX-License-Identifier: BSD-3-Clause
#include "apps/config_file.hpp"

#include <boost/program_options.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

namespace conclave::apps {
namespace {

namespace po = boost::program_options;

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// A line without its comment and the spaces around.
std::string_view content_of(std::string_view line) { return trimmed(line.substr(0, line.find('#'))); }

struct NumberedLine {
  Index number;  // from 1
  std::string content;
};

// The lines that hold anything but a comment or a [section]'s title. Boost tells no line numbers; what it parsed stands
// on these, in order.
std::vector<NumberedLine> lines_of(const std::string& text) {
  std::vector<NumberedLine> result;
  std::istringstream lines(text);
  std::string line;
  for (Index number = 1; std::getline(lines, line); ++number) {
    const std::string_view content = content_of(line);
    const bool is_title = content.starts_with('[') && content.ends_with(']');
    if (!content.empty() && !is_title) result.push_back({number, std::string(content)});
  }
  return result;
}

// The character that an escape stands for, and how many characters after the backslash it took; 0 for no escape.
std::size_t unescape(std::string_view after_backslash, char& character) {
  if (after_backslash.empty()) return 0;
  constexpr std::string_view letters = "nrt\"\\";
  constexpr std::string_view meanings = "\n\r\t\"\\";
  const auto simple = letters.find(after_backslash.front());
  if (simple != std::string_view::npos) {
    character = meanings[simple];
    return 1;
  }
  if (after_backslash.size() < 3 || after_backslash.front() != 'x') return 0;
  unsigned code = 0;
  const char* const end = after_backslash.data() + 3;
  const auto [stop, error] = std::from_chars(after_backslash.data() + 1, end, code, 16);
  if (error != std::errc{} || stop != end) return 0;
  character = static_cast<char>(code);
  return 3;
}

// The value that a file's text stands for; nothing if its quotes or escapes are wrong.
std::optional<std::string> unquoted(std::string_view text) {
  if (!text.starts_with('"')) return std::string(text);
  if (text.size() < 2 || !text.ends_with('"')) return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') return std::nullopt;
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    char character = 0;
    const std::size_t taken = unescape(text.substr(i + 1), character);
    if (taken == 0) return std::nullopt;
    result += character;
    i += taken;
  }
  return result;
}

std::vector<po::option> parsed_options(const std::string& path, const std::string& text) {
  std::istringstream stream(text);
  try {
    // Told of no options, Boost hands over all it finds; names are looked up by the caller, who knows both spellings.
    return po::parse_config_file(stream, po::options_description(), true).options;
  } catch (const po::invalid_config_file_syntax&) {
    const std::vector<NumberedLine> lines = lines_of(text);
    const auto bad = std::find_if(lines.begin(), lines.end(),
                                  [](const NumberedLine& line) { return line.content.find('=') == std::string::npos; });
    throw InputError(bad == lines.end()
                         ? fmt::format("{} is no configuration file", path)
                         : fmt::format("{}:{}: '{}' is not 'name = value'", path, bad->number, bad->content),
                     "write one option a line; '#' begins a comment");
  }
}

[[noreturn]] void fail_unknown(const std::string& at, const std::string& key, const std::vector<std::string>& near) {
  const bool in_section = key.find('.') != std::string::npos;
  throw InputError(fmt::format("{}: unknown option '{}'{}", at, key, did_you_mean(near)),
                   in_section ? "a configuration file has no [sections]" : "--help lists the options");
}

}  // namespace

ConfigFile::ConfigFile(const std::string& path, const std::string& text, const OptionSections& options) {
  const std::vector<po::option> parsed = parsed_options(path, text);
  const std::vector<NumberedLine> lines = lines_of(text);
  invariant(parsed.size() == lines.size(), "{} options on {} lines of {}", parsed.size(), lines.size(), path);
  for (std::size_t i = 0; i < parsed.size(); ++i) {
    const std::string at = fmt::format("{}:{}", path, lines[i].number);
    std::string name = parsed[i].string_key;
    std::replace(name.begin(), name.end(), '-', '_');
    const Option* option = options.find(name);
    if (option == nullptr) fail_unknown(at, parsed[i].string_key, options.nearest(name));
    if (std::any_of(values_.begin(), values_.end(), [&](const ConfigValue& value) { return value.option == option; })) {
      throw InputError(fmt::format("{}: option '{}' is given twice", at, name), "give it once");
    }
    const std::string where = fmt::format("{}: option '{}'", at, name);
    const std::string written = parsed[i].value.empty() ? "" : parsed[i].value.front();
    const auto value = unquoted(written);
    if (!value) {
      throw InputError(fmt::format("{} has badly quoted text {}", where, written),
                       R"(inside quotes write \" for a quote, \\ for a backslash and \x23 for '#')");
    }
    values_.push_back({option, *value, where});
  }
}

std::string quoted_if_needed(const std::string& value) {
  const bool plain = value == trimmed(value) && !value.starts_with('"') &&
                     std::none_of(value.begin(), value.end(), [](char c) { return c == '#' || (c >= 0 && c < ' '); });
  if (plain) return value;
  std::string result = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '#' || (c >= 0 && c < ' ')) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

}  // namespace conclave::apps
