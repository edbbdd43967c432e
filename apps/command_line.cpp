// SPDX-License-Identifier: BSD-3-Clause
#include "apps/command_line.hpp"

#include "apps/config_file.hpp"
#include "apps/option_text.hpp"

#include <boost/program_options.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace conclave::apps {
namespace {

namespace po = boost::program_options;

constexpr std::string_view arguments_key = "(arguments)";  // Boost's name for the words that belong to no option

std::string with_underscores(std::string_view name) {
  std::string result(name);
  std::replace(result.begin(), result.end(), '-', '_');
  return result;
}

// The name that a word gives as an option, with '_'; empty if it gives none.
std::string option_name(const std::string& word) {
  return word.starts_with("--") ? with_underscores(word.substr(2, word.find('=') - 2)) : "";
}

// "--name=value", but an empty value as a word of its own, because Boost refuses "--name=".
void append_pair(std::vector<std::string>& words, const std::string& name, const std::string& value) {
  if (value.empty()) {
    words.insert(words.end(), {"--" + name, ""});
  } else {
    words.push_back(fmt::format("--{}={}", name, value));
  }
}

// As append_pair, but what adds up becomes longer where it is there already.
void append_value(std::vector<std::string>& words, const Option* option, const std::string& name,
                  const std::string& value) {
  const std::string begin = fmt::format("--{}=", name);
  const auto given = std::ranges::find_if(words, [&](const std::string& word) { return word.starts_with(begin); });
  if (option != nullptr && option->adds_up && given != words.end() && !value.empty()) {
    *given += option->separator + value;
  } else {
    append_pair(words, name, value);
  }
}

// Words in the one spelling that Boost reads without doubt: names with '_', each value in its option's word, flags with
// theirs. So a flag does not eat the word behind it, a value may begin with dashes, and a forgotten value is noticed.
std::vector<std::string> canonical_words(std::span<const std::string> words, const OptionSections& options) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      result.insert(result.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      break;
    }
    const std::string name = option_name(words[i]);
    const auto equals = words[i].find('=');
    const bool has_value = equals != std::string::npos;
    const Option* option = options.find(name);
    const Option* denied = name.starts_with("no_") ? options.find(name.substr(3)) : nullptr;
    if (option == nullptr && denied != nullptr && denied->is_flag && !has_value) {
      append_pair(result, denied->name, "no");
    } else if (option == nullptr && name != "config") {
      result.push_back(words[i]);  // an argument, or an unknown option that Boost names
    } else if (has_value) {
      append_value(result, option, name, words[i].substr(equals + 1));
    } else if (option != nullptr && option->is_flag) {
      append_pair(result, name, "yes");
    } else {
      const bool follows = i + 1 < words.size() && words[i + 1] != "--";
      const std::string next = follows ? option_name(words[i + 1]) : "";
      if (!follows || next == "config" || options.find(next) != nullptr) {
        throw InputError(fmt::format("option '{}' needs a value", flag_of(name)),
                         option == nullptr ? "it takes a file" : fmt::format("it takes {}", option->accepts));
      }
      append_value(result, option, name, words[++i]);
    }
  }
  return result;
}

po::options_description described(const OptionSections& options) {
  po::options_description result;
  for (const Option* option : options.all()) {
    result.add_options()(option->name.c_str(), po::value<std::string>());
  }
  return result;
}

// Boost's names carry its own dashes.
std::string bare(std::string name) {
  name.erase(0, name.find_first_not_of('-'));
  return name.substr(0, name.find('='));
}

[[noreturn]] void fail_unknown(const std::string& name, const OptionSections& options) {
  std::vector<std::string> known{"config", "help"};
  for (const Option* option : options.all()) known.push_back(option->name);
  std::vector<std::string> near = nearest_names(with_underscores(name), known);
  std::transform(near.begin(), near.end(), near.begin(), flag_of);
  throw InputError(fmt::format("unknown option '--{}'{}", name, did_you_mean(near)), "--help lists the options");
}

po::parsed_options parse_words(const std::vector<std::string>& words, const po::options_description& known,
                               const OptionSections& options) {
  using Style = po::command_line_style::style_t;
  const po::positional_options_description arguments =
      po::positional_options_description().add(std::string(arguments_key).c_str(), -1);
  // No short options, so that a negative number is a value; no abbreviations, so that a new option breaks no script.
  try {
    return po::command_line_parser(words)
        .options(known)
        .positional(arguments)
        .style(Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next)
        .run();
  } catch (const po::error_with_option_name& error) {
    // What is known is spelt without doubt by now: "--unknown", or "--unknown=", of which Boost says something else.
    fail_unknown(bare(error.get_option_name()), options);
  }
}

void assign(const Option& option, const std::string& text, const std::string& where) {
  if (option.assign(text)) return;
  throw InputError(fmt::format("{} cannot be '{}'", where, text),
                   fmt::format("it takes {}; the default is '{}'", option.accepts, option.text()));
}

}  // namespace

std::string read_file(const std::string& path) {
  const std::string hint = "check the path and its rights";
  if (std::filesystem::is_directory(path)) throw InputError(fmt::format("'{}' is a folder, not a file", path), hint);
  std::ifstream file(path, std::ios::binary);
  if (!file) throw InputError(fmt::format("cannot open '{}': {}", path, std::strerror(errno)), hint);
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) throw InputError(fmt::format("cannot read '{}': {}", path, std::strerror(errno)), hint);
  return text.str();
}

ParsedLine parse_command_line(std::span<const std::string> words, bool takes_arguments, const OptionSections& options,
                              const ReadFile& read) {
  const auto options_end = std::find(words.begin(), words.end(), "--");
  const bool help =
      std::any_of(words.begin(), options_end, [](auto& word) { return word == "--help" || word == "-h"; });
  if (help) return {true, {}, {}, {}, {}};

  po::options_description known = described(options);
  using Words = std::vector<std::string>;
  known.add_options()("config", po::value<std::string>())(std::string(arguments_key).c_str(), po::value<Words>());

  ParsedLine line;
  po::variables_map given;
  try {
    po::store(parse_words(canonical_words(words, options), known, options), given);
  } catch (const po::multiple_occurrences& error) {
    throw InputError(fmt::format("option '{}' is given twice", flag_of(bare(error.get_option_name()))), "give it once");
  }
  const auto arguments = given.find(std::string(arguments_key));
  if (arguments != given.end()) line.arguments = arguments->second.as<Words>();
  if (!takes_arguments && !line.arguments.empty()) {
    throw InputError(fmt::format("unexpected argument '{}'", line.arguments.front()),
                     "options begin with '--', and this command takes nothing else");
  }
  for (const Option* option : options.all()) {
    const auto value = given.find(option->name);
    if (value == given.end()) continue;
    assign(*option, value->second.as<std::string>(), fmt::format("option '{}'", flag_of(option->name)));
    line.given.insert(option->name);
  }
  if (const auto config = given.find("config"); config != given.end()) {
    line.config = config->second.as<std::string>();
    const ConfigFile file(*line.config, read(*line.config), options);
    for (const ConfigValue& value : file.values()) {
      if (!line.given.insert(value.option->name).second) continue;
      line.from_file.insert(value.option->name);
      assign(*value.option, value.text, value.where);
    }
  }
  return line;
}

}  // namespace conclave::apps
