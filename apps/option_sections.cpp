// SPDX-License-Identifier: BSD-3-Clause
#include "apps/option_sections.hpp"

#include <set>

namespace conclave::apps {

OptionTable& OptionSections::section(std::string title) {
  return sections_.emplace_back(OptionSection{std::move(title), {}}).table;
}

std::vector<const Option*> OptionSections::all() const {
  std::vector<const Option*> result;
  std::set<std::string_view> names;
  for (const OptionSection& section : sections_) {
    for (const Option& option : section.table.options()) {
      const bool is_new = names.insert(option.name).second;
      invariant(is_new, "option {} is described in two sections", option.name);
      result.push_back(&option);
    }
  }
  return result;
}

const Option* OptionSections::find(std::string_view name) const {
  for (const OptionSection& section : sections_) {
    if (const Option* option = section.table.find(name)) return option;
  }
  return nullptr;
}

std::vector<std::string> OptionSections::nearest(std::string_view name) const {
  std::vector<std::string> names;
  for (const Option* option : all()) names.push_back(option->name);
  return nearest_names(name, names);
}

}  // namespace conclave::apps
