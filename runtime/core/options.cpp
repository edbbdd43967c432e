// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/core/options.hpp"

#include "runtime/core/parse_number.hpp"

#include <numeric>

namespace conclave {
namespace {

template <class Number>
bool assign_number(std::string_view text, Number& value) {
  const std::optional<Number> parsed = parse_number<Number>(text);
  if (parsed) value = *parsed;
  return parsed.has_value();
}

std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return parts;
}

template <class Number>
Option numbers_option(std::string name, std::vector<Number>& values, std::string help, std::string accepts) {
  return {std::move(name),
          std::move(help),
          std::move(accepts),
          false,
          [&values] { return fmt::format("{}", fmt::join(values, ",")); },
          [&values](std::string_view text) {
            std::vector<Number> parsed;
            for (const auto part : split_at_commas(text)) {
              if (!assign_number(part, parsed.emplace_back())) return false;
            }
            values = std::move(parsed);
            return true;
          }};
}

// Levenshtein's distance, one row at a time.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

void OptionTable::add(Option option) {
  invariant(find(option.name) == nullptr, "option {} is described twice", option.name);
  options_.push_back(std::move(option));
}

void OptionTable::add(std::string name, Index& value, std::string help) {
  add(Option{std::move(name), std::move(help), "an integer", false, [&value] { return fmt::format("{}", value); },
             [&value](std::string_view text) { return assign_number(text, value); }});
}

void OptionTable::add(std::string name, std::optional<Index>& value, std::string help) {
  add(Option{std::move(name), std::move(help), "an integer or auto", false,
             [&value] { return value ? fmt::format("{}", *value) : std::string("auto"); },
             [&value](std::string_view text) {
               Index number = 0;
               if (text != "auto" && !assign_number(text, number)) return false;
               value = text == "auto" ? std::nullopt : std::optional(number);
               return true;
             }});
}

void OptionTable::add(std::string name, double& value, std::string help) {
  add(Option{std::move(name), std::move(help), "a number", false, [&value] { return fmt::format("{}", value); },
             [&value](std::string_view text) { return assign_number(text, value); }});
}

void OptionTable::add(std::string name, bool& value, std::string help) {
  add(Option{std::move(name), std::move(help), "yes or no", true,
             [&value] { return std::string(value ? "yes" : "no"); },
             [&value](std::string_view text) {
               const bool yes = text == "yes" || text == "true" || text == "1";
               if (!yes && text != "no" && text != "false" && text != "0") return false;
               value = yes;
               return true;
             }});
}

void OptionTable::add(std::string name, std::string& value, std::string help) {
  add(Option{std::move(name), std::move(help), "a text", false, [&value] { return value; },
             [&value](std::string_view text) {
               value = text;
               return true;
             }});
}

void OptionTable::add(std::string name, Duration& value, std::string help) {
  add(Option{std::move(name), std::move(help), std::string(duration_forms), false, [&value] { return text_of(value); },
             [&value](std::string_view text) {
               const std::optional<Duration> parsed = parse_duration(text);
               if (parsed) value = *parsed;
               return parsed.has_value();
             }});
}

void OptionTable::add(std::string name, std::optional<Duration>& value, std::string help) {
  add(Option{std::move(name), std::move(help), fmt::format("{}, or auto", duration_forms), false,
             [&value] { return value ? text_of(*value) : std::string("auto"); },
             [&value](std::string_view text) {
               const std::optional<Duration> parsed = parse_duration(text);
               if (text != "auto" && !parsed) return false;
               value = parsed;
               return true;
             }});
}

void OptionTable::add(std::string name, std::vector<std::string>& values, std::string help) {
  add(Option{std::move(name), std::move(help), "a list with commas", false,
             [&values] { return fmt::format("{}", fmt::join(values, ",")); },
             [&values](std::string_view text) {
               const auto parts = split_at_commas(text);
               values.assign(parts.begin(), parts.end());
               return true;
             },
             true});
}

void OptionTable::add(std::string name, std::vector<Index>& values, std::string help) {
  add(numbers_option(std::move(name), values, std::move(help), "integers with commas"));
}

void OptionTable::add(std::string name, std::vector<double>& values, std::string help) {
  add(numbers_option(std::move(name), values, std::move(help), "numbers with commas"));
}

void OptionTable::add_texts(std::string name, std::vector<std::string>& values, std::string help) {
  constexpr char separator = '\x1f';  // ASCII's own between units, which no text needs
  Option option{std::move(name),
                std::move(help),
                "a text; given again, one more",
                false,
                [&values, separator] { return fmt::format("{}", fmt::join(values, std::string(1, separator))); },
                [&values, separator](std::string_view text) {
                  values.clear();
                  for (std::size_t at = 0; at <= text.size();) {
                    const std::size_t end = std::min(text.find(separator, at), text.size());
                    values.emplace_back(text.substr(at, end - at));
                    at = end + 1;
                  }
                  return true;
                }};
  option.adds_up = true;
  option.separator = separator;
  add(std::move(option));
}

const Option* OptionTable::find(std::string_view name) const {
  const auto found = std::find_if(options_.begin(), options_.end(), [&](const Option& o) { return o.name == name; });
  return found == options_.end() ? nullptr : &*found;
}

void OptionTable::assign(std::string_view name, std::string_view text) {
  const Option* option = find(name);
  if (option == nullptr) {
    throw InputError(fmt::format("unknown option '{}'{}", name, did_you_mean(nearest(name))), "see --help");
  }
  if (!option->assign(text)) {
    throw InputError(fmt::format("option '{}' cannot be '{}'", name, text),
                     fmt::format("it takes {}; it stays '{}'", option->accepts, option->text()));
  }
}

void OptionTable::rename(std::string_view name, std::string to) {
  const auto found = std::find_if(options_.begin(), options_.end(), [&](const Option& o) { return o.name == name; });
  invariant(found != options_.end() && find(to) == nullptr, "option {} cannot be renamed {}", name, to);
  found->name = std::move(to);
}

void OptionTable::remove(std::string_view name) {
  const auto removed = std::erase_if(options_, [&](const Option& o) { return o.name == name; });
  invariant(removed == 1, "option {} cannot be removed: there is none", name);
}

std::vector<std::string> OptionTable::nearest(std::string_view name) const {
  std::vector<std::string> names;
  for (const Option& option : options_) names.push_back(option.name);
  return nearest_names(name, names);
}

std::vector<std::string> nearest_names(std::string_view word, const std::vector<std::string>& names) {
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    const bool shares_start = !word.empty() && name.starts_with(word);
    if (distance <= std::max<std::size_t>(2, word.size() / 3) || shares_start) near.emplace_back(distance, name);
  }
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, near.size()); ++i) result.push_back(near[i].second);
  return result;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  return names.empty() ? std::string{} : fmt::format("; did you mean {}?", fmt::join(names, ", "));
}

}  // namespace conclave
