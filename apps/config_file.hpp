// SPDX-License-Identifier: BSD-3-Clause
// A configuration file: one `name = value` a line, `#` begins a comment. A value in double quotes may hold spaces at
// its ends and the escapes \n \t \" \\ \xHH.
#pragma once

#include "apps/option_sections.hpp"

namespace conclave::apps {

/// One option's value in a file.
struct ConfigValue {
  const Option* option;
  std::string text;
  std::string where;  // "run.ini:12: option 'top_k'", for messages
};

/// A parsed configuration file.
class ConfigFile {
 public:
  /// Parses `text`, the contents of `path`. Names may be written with '_' or '-'. InputError, with the line, for a line
  /// that is no `name = value`, an unknown name (with the nearest ones), a name given twice and a badly quoted value.
  ConfigFile(const std::string& path, const std::string& text, const OptionSections& options);

  /// In the order of the file.
  [[nodiscard]] const std::vector<ConfigValue>& values() const { return values_; }

 private:
  std::vector<ConfigValue> values_;
};

/// A value as the file writes it: as it is, or in quotes where it would not be read back otherwise.
[[nodiscard]] std::string quoted_if_needed(const std::string& value);

}  // namespace conclave::apps
