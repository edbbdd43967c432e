// SPDX-License-Identifier: BSD-3-Clause
// Random rules, as the reference sees them and as a person writes them.
#pragma once

#include "tests/gating/draws.hpp"
#include "tests/gating/reference_types.hpp"

namespace conclave::test {

/// Rules for experts and choices of these numbers; the last one fits every token.
inline std::vector<ReferenceRule> random_rules(Draws& draw, Index num_experts, Index top_k) {
  std::vector<ReferenceRule> rules(static_cast<std::size_t>(1 + draw.below(5)));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    ReferenceRule& rule = rules[i];
    const Index kind = i + 1 == rules.size() ? 3 : draw.below(3);
    for (Index n = 0; n <= draw.below(3) && kind == 0; ++n) {
      const Index first = draw.below(260);
      rule.tokens.emplace_back(first, draw.yes() ? first : first + draw.below(30));
    }
    if (kind == 1) rule.classes = {draw.pick<std::string>({"letter", "digit", "space", "punctuation", "other"})};
    if (kind == 1 && draw.yes()) rule.classes.push_back(rule.classes[0] == "digit" ? "space" : "digit");
    for (Index n = 0; n <= draw.below(2) && kind == 2; ++n) rule.domains.push_back(draw.below(4));
    while (static_cast<Index>(rule.experts.size()) < top_k) {
      const Index expert = draw.below(num_experts);
      if (std::find(rule.experts.begin(), rule.experts.end(), expert) == rule.experts.end()) {
        rule.experts.push_back(expert);
      }
    }
  }
  return rules;
}

/// The rules in a hand of varying neatness.
inline std::string rules_text(const std::vector<ReferenceRule>& rules, Draws& draw) {
  const auto gap = [&] { return draw.pick<std::string>({"", " ", "\t "}); };
  std::string text = draw.yes() ? "# who serves whom -> nobody; default\n\n" : "";
  for (const ReferenceRule& rule : rules) {
    std::vector<std::string> parts;
    for (const auto& [first, last] : rule.tokens) {
      parts.push_back(first == last ? fmt::format("{}", first) : fmt::format("{}{}-{}", first, gap(), last));
    }
    for (const std::string& name : rule.classes) parts.push_back(name);
    for (const Index domain : rule.domains) parts.push_back(fmt::format("{}", domain));
    const std::string kind = !rule.tokens.empty()    ? "token "
                             : !rule.classes.empty() ? "class\t"
                             : !rule.domains.empty() ? "domain "
                                                     : "default";
    const std::string comma = fmt::format("{},{}", gap(), gap());
    text += fmt::format("{}{}{}{}->{}{}{}", gap(), kind, fmt::join(parts, comma), gap(), gap(),
                        fmt::join(rule.experts, comma), gap());
    text += draw.pick<std::string>({"\n", ";", "; ;", "\r\n", "# a remark; no rule -> 99\n"});
  }
  return text;
}

}  // namespace conclave::test
