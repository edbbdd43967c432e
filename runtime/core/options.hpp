// SPDX-License-Identifier: BSD-3-Clause
// Options as data: a module keeps its options in an aggregate with defaults and describes each once (name, member,
// help). The command line, the configuration file, `--help`, a run's record and a checkpoint's attributes are all made
// from that one description.
#pragma once

#include "runtime/core/duration.hpp"
#include "runtime/core/error.hpp"
#include "runtime/core/ids.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

/// One value of an enumeration and the word for it. An enumeration that is an option has, in its own namespace, a
/// function `enum_names(Enum)` that returns a range of these.
template <class Enum>
struct EnumName {
  Enum value;
  std::string_view name;
};

/// The word for an enumerator.
template <class Enum>
[[nodiscard]] std::string_view name_of(Enum value) {
  for (const auto& entry : enum_names(Enum{})) {
    if (entry.value == value) return entry.name;
  }
  invariant(false, "an enumerator {} without a name", static_cast<int>(value));
  return {};
}

/// One described option. Names use '_' (`top_k`); the command line writes '-' (`--top-k`).
struct Option {
  std::string name;
  std::string help;
  std::string accepts;                           // "an integer", "one of softmax, sigmoid"
  bool is_flag = false;                          // a yes/no option: `--name` alone means yes
  std::function<std::string()> text;             // the present value, as it may be given back to assign
  std::function<bool(std::string_view)> assign;  // false: the text is not a value of this option; nothing changed
  bool adds_up = false;                          // given again on a command line, it takes more values
  char separator = ',';                          // between the values of one that adds up
};

/// The options of a program or module, in the order of their description. Refers to the described members: it must
/// not outlive them.
class OptionTable {
 public:
  void add(std::string name, Index& value, std::string help);
  /// "auto" for no value.
  void add(std::string name, std::optional<Index>& value, std::string help);
  void add(std::string name, double& value, std::string help);
  void add(std::string name, bool& value, std::string help);
  void add(std::string name, std::string& value, std::string help);
  void add(std::string name, Duration& value, std::string help);
  /// "auto" for no value.
  void add(std::string name, std::optional<Duration>& value, std::string help);
  /// A list, written with commas.
  void add(std::string name, std::vector<std::string>& values, std::string help);
  void add(std::string name, std::vector<Index>& values, std::string help);
  void add(std::string name, std::vector<double>& values, std::string help);
  /// Whole texts, commas and line breaks included: one each time that the option is given.
  void add_texts(std::string name, std::vector<std::string>& values, std::string help);
  template <class Enum>
  requires std::is_enum_v<Enum>
  void add(std::string name, Enum& value, std::string help);

  [[nodiscard]] const std::vector<Option>& options() const { return options_; }
  [[nodiscard]] const Option* find(std::string_view name) const;
  /// Gives option `name` the value written in `text`. InputError for an unknown name (with the nearest ones) and for a
  /// text that is no value of it.
  void assign(std::string_view name, std::string_view text);
  /// For a command where an option has a shorter name than its module gives it, or no use. InvariantError for an
  /// unknown name.
  void rename(std::string_view name, std::string to);
  void remove(std::string_view name);
  /// Up to three known names nearest to `name`, best first; none where nothing is near.
  [[nodiscard]] std::vector<std::string> nearest(std::string_view name) const;

 private:
  void add(Option option);
  std::vector<Option> options_;
};

/// Up to three of `names` that are few edits away from `word`, nearest first.
[[nodiscard]] std::vector<std::string> nearest_names(std::string_view word, const std::vector<std::string>& names);

/// "; did you mean a, b?" or nothing.
[[nodiscard]] std::string did_you_mean(const std::vector<std::string>& names);

template <class Enum>
requires std::is_enum_v<Enum>
void OptionTable::add(std::string name, Enum& value, std::string help) {
  std::vector<std::string_view> words;
  for (const auto& entry : enum_names(Enum{})) words.push_back(entry.name);
  add(Option{std::move(name), std::move(help), fmt::format("one of {}", fmt::join(words, ", ")), false,
             [&value] { return std::string(name_of(value)); },
             [&value](std::string_view text) {
               for (const auto& entry : enum_names(Enum{})) {
                 if (entry.name != text) continue;
                 value = entry.value;
                 return true;
               }
               return false;
             }});
}

}  // namespace conclave
