// SPDX-License-Identifier: BSD-3-Clause
// Routing by rules that a person writes. One rule a line, or several with ';' between them; '#' begins a comment:
//
//   token 10, 13           -> 0, 1        # ids of tokens: numbers and ranges
//   token 48-57            -> 2, 3
//   class letter, space    -> 4, 5        # classes of bytes: letter, digit, space, punctuation, other
//   domain 2               -> 6, 7        # the domain of the token's document, by number or by name
//   default                -> 0, 1        # every token
//
// The first rule that fits a token decides, so narrow rules stand above wide ones. Each names exactly top_k different
// experts, best first.
#pragma once

#include "runtime/core/ids.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::gating {

/// What kind of byte a token is, as the C locale classifies it; tokens that are no bytes (256 and above) are `other`.
enum class ByteClass : std::uint8_t { letter, digit, space, punctuation, other };
[[nodiscard]] ByteClass byte_class(std::int32_t token_id);

/// What rules are held against when they are read.
struct RuleLimits {
  Index num_experts = 0;
  Index top_k = 0;
  std::span<const std::string> domain_names;  // their numbers are their places; empty: domains have numbers only
};

class RuleTable {
 public:
  /// Reads rules. `source` is what errors call the text ("rules.txt"): InputError naming it and the line for a rule
  /// that cannot be read or does not fit the limits, and for a table without rules.
  RuleTable(std::string_view text, const std::string& source, const RuleLimits& limits);

  /// The experts of a token, best first; empty if no rule fits. domain: nothing where it is not known.
  [[nodiscard]] std::span<const std::int32_t> experts_of(std::int32_t token_id,
                                                         std::optional<std::int32_t> domain) const;
  /// The largest number of a domain that a rule is for, if one is.
  [[nodiscard]] std::optional<std::int32_t> largest_domain() const;
  /// The rules once more, in one line, domains by number: read again they are the same table.
  [[nodiscard]] std::string text() const;

 private:
  struct Span {
    std::int32_t first;
    std::int32_t last;
  };
  /// Fits a token if any of its conditions does; without conditions, every token.
  struct Rule {
    std::vector<Span> tokens;
    std::array<bool, 5> classes{};  // by ByteClass
    std::vector<std::int32_t> domains;
    bool fits_all = false;
    std::vector<std::int32_t> experts;  // [top_k]
  };
  class Reader;

  [[nodiscard]] static bool fits(const Rule& rule, std::int32_t token_id, std::optional<std::int32_t> domain);

  std::vector<Rule> rules_;
};

}  // namespace conclave::gating
