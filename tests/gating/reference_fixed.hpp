// SPDX-License-Identifier: BSD-3-Clause
// Section 5: the choices of the routers without scores, from the table of their definitions.
#pragma once

#include "tests/gating/reference_types.hpp"

namespace conclave::test {

/// Weights of least_loaded and probabilities of bernoulli, where none are given.
inline Row reference_or(const Row& given, Index count, double value) {
  return given.empty() ? Row(static_cast<std::size_t>(count), value) : given;
}

/// The first k different experts of the draws R(key, 0), R(key, 1), ... mod E.
inline IndexRow reference_draws(const Random& random, Index key, Index top_k, Index num_experts) {
  IndexRow choices;
  for (Index draw = 0; static_cast<Index>(choices.size()) < top_k; ++draw) {
    const auto expert = static_cast<Index>(random.bits(key, draw) % static_cast<std::uint32_t>(num_experts));
    if (!reference_holds(choices, expert)) choices.push_back(expert);
  }
  return choices;
}

/// The class of a byte, by ranges of ASCII.
inline std::string reference_class(Index token_id) {
  const auto within = [&](Index first, Index last) { return first <= token_id && token_id <= last; };
  if (within('A', 'Z') || within('a', 'z')) return "letter";
  if (within('0', '9')) return "digit";
  if (within(9, 13) || token_id == 32) return "space";
  if (within(33, 126)) return "punctuation";
  return "other";
}

inline bool reference_fits(const ReferenceRule& rule, Index token_id, Index domain) {
  if (rule.tokens.empty() && rule.classes.empty() && rule.domains.empty()) return true;
  for (const auto& [first, last] : rule.tokens) {
    if (first <= token_id && token_id <= last) return true;
  }
  for (const std::string& name : rule.classes) {
    if (name == reference_class(token_id)) return true;
  }
  return reference_holds(rule.domains, domain);
}

/// The smallest claims / weight that the token does not hold, of equals the lowest; `claims` so far in the group.
inline IndexRow reference_least_loaded(IndexRow& claims, const Row& weight, Index top_k) {
  IndexRow choices;
  for (Index j = 0; j < top_k; ++j) {
    Row spare;  // the larger the better
    for (std::size_t e = 0; e < weight.size(); ++e) spare.push_back(-static_cast<double>(claims[e]) / weight[e]);
    choices.push_back(reference_best(spare, [&](Index e) { return !reference_holds(choices, e); }));
    ++claims[static_cast<std::size_t>(choices.back())];
  }
  return choices;
}

inline IndexRow reference_bernoulli(const Random& random, Index token, const Row& activation) {
  const auto num_experts = static_cast<Index>(activation.size());
  IndexRow active;
  for (Index e = 0; e < num_experts; ++e) {
    if (random.uniform(token, e) < activation[static_cast<std::size_t>(e)]) active.push_back(e);
  }
  if (!active.empty()) return active;
  return {static_cast<Index>(random.bits(token, num_experts) % static_cast<std::uint32_t>(num_experts))};
}

/// What every token of the group asks for.
inline IndexRows reference_fixed_choices(const ReferenceInput& in) {
  const gating::RouterOptions& o = in.options;
  IndexRows choices;
  IndexRow claims(static_cast<std::size_t>(o.experts), 0);
  for (std::size_t t = 0; t < in.x.size(); ++t) {
    const Index token = in.first_token + static_cast<Index>(t);
    IndexRow row;
    if (o.router == "hash") {
      row = reference_draws(Random(in.seed, RandomStream::hash, 0, 0), in.token_ids[t], o.top_k, o.experts);
    } else if (o.router == "random") {
      row = reference_draws(Random(in.seed, RandomStream::random, in.layer, in.step), token, o.top_k, o.experts);
    } else if (o.router == "round_robin") {
      for (Index j = 0; j < o.top_k; ++j) row.push_back((token * o.top_k + j) % o.experts);
    } else if (o.router == "least_loaded") {
      row = reference_least_loaded(claims, reference_or(o.load_weight, o.experts, 1.0), o.top_k);
    } else if (o.router == "rule") {
      for (const ReferenceRule& rule : in.rules) {
        if (row.empty() && reference_fits(rule, in.token_ids[t], in.domains.empty() ? -1 : in.domains[t])) {
          row = rule.experts;
        }
      }
    } else if (o.router == "bernoulli") {
      row = reference_bernoulli(Random(in.seed, RandomStream::bernoulli, in.layer, in.step), token,
                                reference_or(o.activation, o.experts, 1.0 / static_cast<double>(o.experts)));
    }
    choices.push_back(row);
  }
  return choices;
}

}  // namespace conclave::test
