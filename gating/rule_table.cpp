// SPDX-License-Identifier: BSD-3-Clause
#include "gating/rule_table.hpp"

#include "runtime/core/options.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace conclave::gating {
namespace {

constexpr std::array<std::string_view, 5> class_names{"letter", "digit", "space", "punctuation", "other"};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::int32_t> number(std::string_view text) {
  std::int32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

}  // namespace

ByteClass byte_class(std::int32_t token_id) {
  if (token_id < 0 || token_id > 127) return ByteClass::other;  // in the C locale
  if (std::isalpha(token_id) != 0) return ByteClass::letter;
  if (std::isdigit(token_id) != 0) return ByteClass::digit;
  if (std::isspace(token_id) != 0) return ByteClass::space;
  return std::ispunct(token_id) != 0 ? ByteClass::punctuation : ByteClass::other;
}

/// Reads one rule, and knows where it stands.
class RuleTable::Reader {
 public:
  Reader(const std::string& source, Index line, const RuleLimits& limits)
      : where_(fmt::format("{}, line {}", source, line)), limits_(limits) {}

  [[nodiscard]] Rule read(std::string_view text) const {
    const auto arrow = text.find("->");
    if (arrow == std::string_view::npos) {
      fail(fmt::format("'{}' has no '->'", text), "write CONDITION -> EXPERTS, e.g. class digit -> 0, 1");
    }
    const std::string_view condition = trimmed(text.substr(0, arrow));
    const auto blank = std::min(condition.find_first_of(" \t"), condition.size());
    const std::string_view kind = condition.substr(0, blank);
    const std::string_view what = trimmed(condition.substr(blank));
    Rule rule;
    if (kind == "default" && what.empty()) {
      rule.fits_all = true;
    } else if (kind == "token") {
      for (const std::string_view part : split(what, ',')) rule.tokens.push_back(token_span(part));
    } else if (kind == "class") {
      for (const std::string_view part : split(what, ',')) rule.classes[class_number(part)] = true;
    } else if (kind == "domain") {
      for (const std::string_view part : split(what, ',')) rule.domains.push_back(domain_number(part));
    } else {
      fail(fmt::format("'{}' is no condition", condition),
           "a rule begins with token NUMBERS, class NAMES, domain NUMBERS or default");
    }
    rule.experts = experts(trimmed(text.substr(arrow + 2)));
    return rule;
  }

 private:
  [[noreturn]] void fail(const std::string& message, const std::string& hint) const {
    throw InputError(fmt::format("{}: {}", where_, message), hint);
  }

  [[nodiscard]] Span token_span(std::string_view text) const {
    const auto dash = text.find('-');
    const auto first = number(trimmed(text.substr(0, dash)));
    const auto last = dash == std::string_view::npos ? first : number(trimmed(text.substr(dash + 1)));
    if (!first || !last || *last < *first) {
      fail(fmt::format("'{}' is no token", text), "tokens are numbers of 0 or more, or ranges such as 48-57");
    }
    return {*first, *last};
  }

  [[nodiscard]] std::size_t class_number(std::string_view text) const {
    const auto found = std::find(class_names.begin(), class_names.end(), text);
    if (found == class_names.end()) {
      fail(fmt::format("there is no class '{}'{}", text,
                       did_you_mean(nearest_names(text, {class_names.begin(), class_names.end()}))),
           fmt::format("the classes of bytes are: {}", fmt::join(class_names, ", ")));
    }
    return static_cast<std::size_t>(found - class_names.begin());
  }

  [[nodiscard]] std::int32_t domain_number(std::string_view text) const {
    const auto& names = limits_.domain_names;
    const auto found = std::find(names.begin(), names.end(), text);
    if (found != names.end()) return static_cast<std::int32_t>(found - names.begin());
    const auto value = number(text);
    if (value && (names.empty() || *value < std::ssize(names))) return *value;
    fail(fmt::format("there is no domain '{}'", text),
         names.empty() ? "domains are numbers of 0 or more; a rule file may name those of data that has them"
                       : fmt::format("the domains of this data are 0 to {}, or by name: {}", names.size() - 1,
                                     fmt::join(names, ", ")));
  }

  [[nodiscard]] std::vector<std::int32_t> experts(std::string_view text) const {
    std::vector<std::int32_t> list;
    for (const std::string_view part : split(text, ',')) {
      const auto expert = number(part);
      if (!expert || *expert >= limits_.num_experts) {
        fail(fmt::format("'{}' is no expert", part),
             fmt::format("experts are numbers from 0 to {}", limits_.num_experts - 1));
      }
      if (std::find(list.begin(), list.end(), *expert) != list.end()) {
        fail(fmt::format("expert {} stands twice", *expert), "name different experts");
      }
      list.push_back(*expert);
    }
    if (std::ssize(list) != limits_.top_k) {
      fail(fmt::format("{} experts in '{}'", list.size(), text), fmt::format("name exactly top_k = {}", limits_.top_k));
    }
    return list;
  }

  std::string where_;
  const RuleLimits& limits_;
};

RuleTable::RuleTable(std::string_view text, const std::string& source, const RuleLimits& limits) {
  Index line_number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++line_number;
    const Reader reader(source, line_number, limits);
    for (const std::string_view rule : split(line.substr(0, line.find('#')), ';')) {
      if (!rule.empty()) rules_.push_back(reader.read(rule));
    }
  }
  if (rules_.empty()) throw InputError(fmt::format("{} has no rules", source), "write at least: default -> EXPERTS");
}

bool RuleTable::fits(const Rule& rule, std::int32_t token_id, std::optional<std::int32_t> domain) {
  if (rule.fits_all || rule.classes[static_cast<std::size_t>(byte_class(token_id))]) return true;
  if (std::any_of(rule.tokens.begin(), rule.tokens.end(),
                  [&](const Span& s) { return s.first <= token_id && token_id <= s.last; })) {
    return true;
  }
  return domain && std::find(rule.domains.begin(), rule.domains.end(), *domain) != rule.domains.end();
}

std::span<const std::int32_t> RuleTable::experts_of(std::int32_t token_id, std::optional<std::int32_t> domain) const {
  const auto found =
      std::find_if(rules_.begin(), rules_.end(), [&](const Rule& r) { return fits(r, token_id, domain); });
  return found == rules_.end() ? std::span<const std::int32_t>() : std::span(found->experts);
}

std::optional<std::int32_t> RuleTable::largest_domain() const {
  std::optional<std::int32_t> largest;
  for (const Rule& rule : rules_) {
    for (const std::int32_t domain : rule.domains) largest = std::max(domain, largest.value_or(domain));
  }
  return largest;
}

std::string RuleTable::text() const {
  std::vector<std::string> lines;
  for (const Rule& rule : rules_) {
    std::vector<std::string> parts;
    for (const Span& s : rule.tokens) {
      parts.push_back(s.first == s.last ? fmt::format("{}", s.first) : fmt::format("{}-{}", s.first, s.last));
    }
    for (std::size_t c = 0; c < class_names.size(); ++c) {
      if (rule.classes[c]) parts.emplace_back(class_names[c]);
    }
    for (const std::int32_t domain : rule.domains) parts.push_back(fmt::format("{}", domain));
    const std::string_view kind = rule.fits_all           ? "default"
                                  : !rule.tokens.empty()  ? "token "
                                  : !rule.domains.empty() ? "domain "
                                                          : "class ";
    lines.push_back(fmt::format("{}{} -> {}", kind, fmt::join(parts, ","), fmt::join(rule.experts, ",")));
  }
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace conclave::gating
